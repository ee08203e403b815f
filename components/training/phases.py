"""The phases of a training step by name, which torch's profiler shows where one is at work (`modelyard profile`)."""

from collections.abc import Generator, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal, TypeVar

import torch
from torch.autograd import profiler

Phase = Literal["data", "forward", "backward", "optimizer"]
PHASES: tuple[Phase, ...] = ("data", "forward", "backward", "optimizer")

T = TypeVar("T")


def phase(name: Phase) -> AbstractContextManager[Any]:
    """Mark the block as a phase of the step, for a profiler."""
    # A mark takes 4 µs even where nobody looks, and asking whether somebody does 0.2 µs: some steps take 300 µs.
    if profiler._is_profiler_enabled:  # pyright: ignore[reportPrivateUsage]
        return marked(name)
    return nullcontext()


@contextmanager
def marked(name: str) -> Generator[None]:
    """Mark the block for a profiler; on a GPU wait for what the block began there, so that it counts as the block's."""
    with profiler.record_function(name):
        yield
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()


def drawn(items: Iterable[T]) -> Iterator[T]:
    """Yield the items, with what each takes to come marked as `data`."""
    left = iter(items)
    while True:
        with phase("data"):
            try:
                item = next(left)
            except StopIteration:
                return
        yield item
