"""What a recipe that says how probable the second of two labels is may say."""

from typing import Annotated, Literal

from pydantic import Field

from components.params.arrays import ArrayData
from components.params.judging import Bootstrap
from components.params.section import Positive, Section, Share
from components.params.task import TaskFigures, TaskSections, TaskServing


class ArrayScoringData(ArrayData):
    """Rows of an array of numbers and one of two labels; the contract's second is the positive one."""

    task: Literal["array_scoring"]


class BrierGate(Section):
    max_brier: Share
    """The bar on the test split."""
    min_gain: Annotated[float, Field(ge=-1, lt=1)]
    """The lower end of the paired bootstrap interval of (baseline - model) must lie above this."""


class ArrayScoringFigures(TaskFigures):
    task: Literal["array_scoring"]
    bootstrap: Bootstrap
    gate: BrierGate


class ArrayScoringServing(TaskServing):
    """POST /score: arrays."""

    task: Literal["array_scoring"]
    max_arrays: Positive
    """Of one request."""


SECTIONS = TaskSections(
    preprocess=ArrayScoringData,
    evaluate=ArrayScoringFigures,
    serving=ArrayScoringServing,
    finetuning=("train",),
    objectives=("classification",),
)
