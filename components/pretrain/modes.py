"""The modes of pretrain by name, each imported only when it is asked for."""

from collections.abc import Callable
from typing import Any, Protocol

from components.pretrain.stage import Inputs, Outputs
from components.tracking.tracker import Tracker


class Make(Protocol):
    """The function that runs a mode of pretrain; `params` is the section of that mode."""

    def __call__(self, params: Any, inputs: Inputs, outputs: Outputs, *, tracker: Tracker) -> Any: ...


def _load() -> Make:
    from components.pretrain.load import run

    return run


def _none() -> Make:
    from components.pretrain.none import run

    return run


def _train() -> Make:
    from components.pretrain.train import run

    return run


MODES: dict[str, Callable[[], Make]] = {"load": _load, "none": _none, "train": _train}
