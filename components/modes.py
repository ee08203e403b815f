"""A mode of a stage that may train: how it is run, and the trainings that it is made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from components.tracking.tracker import Tracker

if TYPE_CHECKING:
    from components.fitting import Training

Inputs = TypeVar("Inputs", contravariant=True)
Outputs = TypeVar("Outputs", contravariant=True)


class Run(Protocol[Inputs, Outputs]):
    """The function that runs a mode; `params` is the section of that mode."""

    def __call__(self, params: Any, inputs: Inputs, outputs: Outputs, *, tracker: Tracker) -> Any: ...


class Trainings(Protocol[Inputs, Outputs]):
    """The function that tells the trainings of a mode in their order, of which nothing is made yet."""

    def __call__(self, params: Any, inputs: Inputs, outputs: Outputs, *, tracker: Tracker) -> "Sequence[Training]": ...


@dataclass(frozen=True)
class Mode(Generic[Inputs, Outputs]):
    """A mode of a stage, by what the stage reads and writes."""

    run: Run[Inputs, Outputs]
    trainings: Trainings[Inputs, Outputs] | None = None
    """None of a mode that trains nothing."""
