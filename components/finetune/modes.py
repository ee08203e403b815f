"""The modes of finetune by name, each imported only when it is asked for."""

from collections.abc import Callable
from typing import Any, Protocol

from components.finetune.stage import Inputs, Outputs
from components.tracking.tracker import Tracker


class Make(Protocol):
    """The function that runs a mode of finetune; `params` is the section of that mode."""

    def __call__(self, params: Any, inputs: Inputs, outputs: Outputs, *, tracker: Tracker) -> Any: ...


def _adapt() -> Make:
    from components.finetune.adapt import run

    return run


def _none() -> Make:
    from components.finetune.none import run

    return run


def _train() -> Make:
    from components.finetune.train import run

    return run


MODES: dict[str, Callable[[], Make]] = {"adapt": _adapt, "none": _none, "train": _train}
