"""The tasks, and the sections that each gives a recipe; components/tasks has the work of each task."""

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from components.params.task import TaskData, TaskFigures, TaskSections, TaskServing
from components.params.tasks import array_classification, image_generation, text_classification, text_generation

SECTIONS: dict[str, TaskSections] = {
    "array_classification": array_classification.SECTIONS,
    "image_generation": image_generation.SECTIONS,
    "text_classification": text_classification.SECTIONS,
    "text_generation": text_generation.SECTIONS,
}

if TYPE_CHECKING:
    Preprocess = TaskData
    Evaluate = TaskFigures
    Serving = TaskServing
else:
    Preprocess = Annotated[reduce(or_, (one.preprocess for one in SECTIONS.values())), Field(discriminator="task")]
    Evaluate = Annotated[reduce(or_, (one.evaluate for one in SECTIONS.values())), Field(discriminator="task")]
    Serving = Annotated[reduce(or_, (one.serving for one in SECTIONS.values())), Field(discriminator="task")]
