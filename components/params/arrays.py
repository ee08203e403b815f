"""What tasks of arrays share: their shape, and how numbers are scaled."""

from typing import Annotated, Literal

from pydantic import Field

from components.params.section import Positive
from components.params.task import TaskData


class ArrayData(TaskData):
    """Rows of an array of numbers and its label: images or vectors."""

    shape: Annotated[tuple[Positive, ...], Field(min_length=1, max_length=2)]
    """[height, width] of a grey image, or [length] of a vector."""
    offset: float
    """The model reads (value - offset) / scale."""
    scale: Annotated[float, Field(gt=0)]
    conflicts: Literal["remove", "majority"]
    """What happens to an array that carries two labels."""
