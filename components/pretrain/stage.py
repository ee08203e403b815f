"""pretrain: make the model from which finetune starts.

Reads the splits of preprocess, its rows without labels and its `predictor/`. Writes `model/` and `history.csv` (one row
an epoch; the header alone where nothing is trained). The mode decides how: `load` takes an existing model, `train`
trains one on the recipe's own rows, and `none` leaves it to finetune.
"""

from dataclasses import dataclass
from pathlib import Path

from components.plumbing.artifacts import artifact, checkpoints, project


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
