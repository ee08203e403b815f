"""The modes of pretrain by name, each imported only when it is asked for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from components.pretrain.stage import Inputs, Outputs
from components.tracking.tracker import Tracker

if TYPE_CHECKING:
    from components.fitting import Training


class Make(Protocol):
    """The function that runs a mode of pretrain; `params` is the section of that mode."""

    def __call__(self, params: Any, inputs: Inputs, outputs: Outputs, *, tracker: Tracker) -> Any: ...


class Begin(Protocol):
    """The function that tells the trainings of a mode of pretrain in their order, of which nothing is made yet."""

    def __call__(self, params: Any, inputs: Inputs, outputs: Outputs, *, tracker: Tracker) -> "Sequence[Training]": ...


@dataclass(frozen=True)
class Mode:
    """A mode of pretrain."""

    run: Make
    trainings: Begin | None = None
    """None of a mode that trains nothing."""


def _load() -> Mode:
    from components.pretrain.load import run

    return Mode(run)


def _none() -> Mode:
    from components.pretrain.none import run

    return Mode(run)


def _train() -> Mode:
    from components.pretrain.train import run, trainings

    return Mode(run, trainings)


MODES: dict[str, Callable[[], Mode]] = {"load": _load, "none": _none, "train": _train}
