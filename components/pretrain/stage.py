"""pretrain: the model that finetune starts from.

Reads the splits of preprocess, its rows without labels and its `predictor/`. Writes `model/` and `history.csv` (one row
an epoch; none where nothing is trained). How is the mode's business: `load` takes an existing model, `train` makes one
of the recipe's own rows, `none` leaves it to finetune.
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
