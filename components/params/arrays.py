"""The settings that tasks of arrays share: the shape of a row, and the scaling of its numbers."""

from typing import Annotated, Literal

from pydantic import Field

from components.params.section import Positive
from components.params.task import TaskData


class ArrayData(TaskData):
    """The section preprocess of a task whose rows are an array of numbers (an image or a vector) and its label."""

    shape: Annotated[tuple[Positive, ...], Field(min_length=1, max_length=2)]
    """The shape of a row: [height, width] of a grey image, or [length] of a vector."""
    offset: float
    """The number that is subtracted: the model reads (value - offset) / scale."""
    scale: Annotated[float, Field(gt=0)]
    conflicts: Literal["remove", "majority"]
    """The treatment of an array that carries two labels: it is removed, or given the label of the majority."""
