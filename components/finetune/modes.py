"""The modes of finetune by name, each imported only when it is asked for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from components.finetune.stage import Inputs, Outputs
from components.tracking.tracker import Tracker

if TYPE_CHECKING:
    from components.fitting import Training


class Make(Protocol):
    """The function that runs a mode of finetune; `params` is the section of that mode."""

    def __call__(self, params: Any, inputs: Inputs, outputs: Outputs, *, tracker: Tracker) -> Any: ...


class Begin(Protocol):
    """The function that tells the trainings of a mode of finetune in their order, of which nothing is made yet."""

    def __call__(self, params: Any, inputs: Inputs, outputs: Outputs, *, tracker: Tracker) -> "Sequence[Training]": ...


@dataclass(frozen=True)
class Mode:
    """A mode of finetune."""

    run: Make
    trainings: Begin | None = None
    """None of a mode that trains nothing."""


def _adapt() -> Mode:
    from components.finetune.adapt import run, trainings

    return Mode(run, trainings)


def _none() -> Mode:
    from components.finetune.none import run

    return Mode(run)


def _train() -> Mode:
    from components.finetune.train import run, trainings

    return Mode(run, trainings)


MODES: dict[str, Callable[[], Mode]] = {"adapt": _adapt, "none": _none, "train": _train}
