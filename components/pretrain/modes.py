"""The modes of pretrain by name, each imported only when it is asked for."""

from collections.abc import Callable

from components.modes import Mode
from components.pretrain.stage import Inputs, Outputs


def _load() -> Mode[Inputs, Outputs]:
    from components.pretrain.load import run

    return Mode(run)


def _none() -> Mode[Inputs, Outputs]:
    from components.pretrain.none import run

    return Mode(run)


def _train() -> Mode[Inputs, Outputs]:
    from components.pretrain.train import run, trainings

    return Mode(run, trainings)


MODES: dict[str, Callable[[], Mode[Inputs, Outputs]]] = {"load": _load, "none": _none, "train": _train}
