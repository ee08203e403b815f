"""The tasks of services, by name. Each is imported only on request: a bundle holds the code of its own task alone."""

from collections.abc import Callable

from serving.endpoint import Endpoint


def _array_classification() -> Endpoint:
    from serving.tasks.array_classification import endpoint

    return endpoint


def _image_generation() -> Endpoint:
    from serving.tasks.image_generation import endpoint

    return endpoint


def _text_classification() -> Endpoint:
    from serving.tasks.text_classification import endpoint

    return endpoint


def _text_generation() -> Endpoint:
    from serving.tasks.text_generation import endpoint

    return endpoint


TASKS: dict[str, Callable[[], Endpoint]] = {
    "array_classification": _array_classification,
    "image_generation": _image_generation,
    "text_classification": _text_classification,
    "text_generation": _text_generation,
}


def endpoint_of(task: str) -> Endpoint:
    """Return the endpoint of a task, which answers its bundle's requests; raise KeyError where there is no such
    task."""
    return TASKS[task]()
