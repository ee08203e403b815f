"""finetune: train a model on the labels of the training split.

Reads the splits of preprocess with its `predictor/`, and the model of pretrain. Writes `model/`, `control/` (the same
model trained without pretraining, or a note that there is none) and `history.csv` (one row an epoch; the header alone
where nothing is trained). The mode decides how: `adapt` puts a head on the pretrained encoder, `train` trains a model
of the recipe's own, and `none` passes the pretrained model on. Trainings are seeded: two runs on one machine, with
the same number of threads, give the same weights, bit for bit.
"""

from dataclasses import dataclass
from pathlib import Path

from components.plumbing.artifacts import artifact, checkpoints, project


@dataclass(frozen=True)
class Inputs:
    train: Path = artifact("preprocess/train.parquet")
    validation: Path = artifact("preprocess/validation.parquet")
    predictor: Path = artifact("preprocess/predictor/")
    pretrained: Path = artifact("pretrain/model/")
    project: Path = project()


@dataclass(frozen=True)
class Outputs:
    model: Path = artifact("model/")
    control: Path = artifact("control/")
    history: Path = artifact("history.csv")
    checkpoints: Path = checkpoints()
