"""pretrain: the model that finetune starts from.

Reads the splits of preprocess, its rows without labels and its `predictor/`. Writes `model/` and `history.csv` (one row
an epoch; none where nothing is trained). How is the mode's business: `load` takes an existing model, `train` makes one
of the recipe's own rows, `none` leaves it to finetune.
"""

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.artifacts import artifact, checkpoints, project
from components.params import Pretrain
from components.tracking import Tracker


@dataclass(frozen=True)
class Inputs:
    train: Path = artifact("preprocess/train.parquet")
    validation: Path = artifact("preprocess/validation.parquet")
    unlabelled: Path = artifact("preprocess/unlabelled.parquet")
    predictor: Path = artifact("preprocess/predictor/")
    project: Path = project()


@dataclass(frozen=True)
class Outputs:
    model: Path = artifact("model/")
    history: Path = artifact("history.csv")
    checkpoints: Path = checkpoints()


def run(params: Pretrain, inputs: Inputs, outputs: Outputs, *, tracker: Tracker) -> Any:
    """Make the model in the way that `mode` says; gives the mode's report."""
    mode = importlib.import_module(f"components.pretrain.{params.mode}")
    return mode.run(params, inputs, outputs, tracker=tracker)
