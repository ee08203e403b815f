"""The modes of finetune by name, each imported only when it is asked for."""

from collections.abc import Callable

from components.finetune.stage import Inputs, Outputs
from components.modes import Mode


def _adapt() -> Mode[Inputs, Outputs]:
    from components.finetune.adapt import run, trainings

    return Mode(run, trainings)


def _none() -> Mode[Inputs, Outputs]:
    from components.finetune.none import run

    return Mode(run)


def _train() -> Mode[Inputs, Outputs]:
    from components.finetune.train import run, trainings

    return Mode(run, trainings)


MODES: dict[str, Callable[[], Mode[Inputs, Outputs]]] = {"adapt": _adapt, "none": _none, "train": _train}
