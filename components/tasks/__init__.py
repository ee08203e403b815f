"""The tasks by name, each imported only when it is asked for."""

from collections.abc import Callable

from components.plumbing.errors import ParamsError, did_you_mean
from components.tasks.task import Task


def _array_classification() -> Task:
    from components.tasks.array_classification import ArrayClassification

    return ArrayClassification()


def _image_generation() -> Task:
    from components.tasks.image_generation import ImageGeneration

    return ImageGeneration()


def _text_classification() -> Task:
    from components.tasks.text_classification import TextClassification

    return TextClassification()


def _text_generation() -> Task:
    from components.tasks.text_generation import TextGeneration

    return TextGeneration()


TASKS: dict[str, Callable[[], Task]] = {
    "array_classification": _array_classification,
    "image_generation": _image_generation,
    "text_classification": _text_classification,
    "text_generation": _text_generation,
}


def task_of(name: str) -> Task:
    """Return the task of that name; raise ParamsError where there is none."""
    if name not in TASKS:
        raise ParamsError(f"no task '{name}'{did_you_mean(name, TASKS)}; there are {', '.join(TASKS)}")
    return TASKS[name]()
