"""The sections of a recipe that classifies arrays of numbers."""

from typing import Annotated, Literal

from pydantic import Field

from components.params.arrays import ArrayData
from components.params.explain import Explain
from components.params.judging import ClassifierFigures, FindSlices
from components.params.section import Positive, Section
from components.params.task import TaskSections, TaskServing


class ArrayClassificationData(ArrayData):
    """The section preprocess: rows of an array of numbers (an image or a vector) and its label."""

    task: Literal["array_classification"]


class LogisticBaseline(Section):
    """The baseline: a logistic regression on the values."""

    C: Annotated[float, Field(gt=0)]
    """The inverse strength of the regularisation."""


class ArrayClassificationFigures(ClassifierFigures):
    task: Literal["array_classification"]
    baseline: LogisticBaseline
    explain: Explain | None = None
    """The explanation of a sample of the test split, with figures that say whether to believe it; null for none. The
    arrays must be images."""
    find_slices: FindSlices | None = None
    """How the slices are looked for on which the model is surely worse; null for not at all."""


class ArrayClassificationServing(TaskServing):
    """The limits of POST /classify, which takes images as files, or arrays of numbers."""

    task: Literal["array_classification"]
    max_arrays: Positive
    """The most arrays in one request."""
    max_image_bytes: Positive
    """The most bytes of one uploaded image."""


SECTIONS = TaskSections(
    preprocess=ArrayClassificationData,
    evaluate=ArrayClassificationFigures,
    serving=ArrayClassificationServing,
    finetuning=("train",),
    objectives=("classification",),
    gives_labels=True,
)
