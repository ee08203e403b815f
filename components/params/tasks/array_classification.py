"""What a recipe that gives arrays of numbers their labels may say."""

from typing import Annotated, Literal

from pydantic import Field

from components.params.arrays import ArrayData
from components.params.judging import ClassifierFigures
from components.params.section import Positive, Section
from components.params.task import TaskSections, TaskServing


class ArrayClassificationData(ArrayData):
    """Rows of an array of numbers and its label: images or vectors."""

    task: Literal["array_classification"]


class LogisticBaseline(Section):
    """Logistic regression on the values."""

    C: Annotated[float, Field(gt=0)]
    """Inverse strength of the regularisation."""


class ArrayClassificationFigures(ClassifierFigures):
    task: Literal["array_classification"]
    baseline: LogisticBaseline


class ArrayClassificationServing(TaskServing):
    """POST /classify: images as files, or arrays."""

    task: Literal["array_classification"]
    max_arrays: Positive
    """Of one request."""
    max_image_bytes: Positive
    """Of one uploaded image."""


SECTIONS = TaskSections(
    preprocess=ArrayClassificationData,
    evaluate=ArrayClassificationFigures,
    serving=ArrayClassificationServing,
    finetuning=("train",),
    objectives=("classification",),
    gives_labels=True,
)
