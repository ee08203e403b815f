"""pretrain: the model that finetune starts from.

Reads the splits of preprocess, its rows without labels and its `predictor/`. Writes `model/` and `history.csv` (one row
an epoch; none where nothing is trained). How is the mode's business: `load` takes an existing model, `train` makes one
of the recipe's own rows, `none` leaves it to finetune.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from components.artifacts import artifact, checkpoints, project
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


class Make(Protocol):
    """A mode's part of the stage; `params` is the section of that mode."""

    def __call__(self, params: Any, inputs: Inputs, outputs: Outputs, *, tracker: Tracker) -> Any: ...


def _load() -> Make:
    from components.pretrain.load import run

    return run


def _none() -> Make:
    from components.pretrain.none import run

    return run


def _train() -> Make:
    from components.pretrain.train import run

    return run


MODES: dict[str, Callable[[], Make]] = {"load": _load, "none": _none, "train": _train}
