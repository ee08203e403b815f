"""Checkpoints while the training goes on: its state is copied, and a thread writes the copy."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from components.plumbing.memory import fallen_bytes, free_bytes
from components.training.checkpoint import (
    Position,
    Snapshot,
    Tensors,
    hand_over,
    make_room,
    num_bytes_of,
    rotate,
    snapshot,
    state_of,
    write,
)
from components.training.ranks import ALONE, Ranks

ROOM = 2
"""How many times the memory of the copies is to be free, beside what a step needs at its worst moment."""


class Saver:
    """The writer of a training's checkpoints; as a context, it ends when what was to be written is written.

    What stops a write is raised by the next call of `save`, `check` or `wait`, and at the end of the context.
    """

    def __init__(self, folder: Path, *, keep: int, ranks: Ranks = ALONE) -> None:
        """`keep` is the number of checkpoints that are kept, beside the one of the best look."""
        self.folder, self.keep, self.ranks = folder, keep, ranks
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._copies: Tensors | None = None

    def __enter__(self) -> "Saver":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.settle()
        if kind is None:
            self.check()

    def make_room(self, *, model: nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        """Begin to take the memory for copies, which takes longer than copying; to be called after the first step,
        before which optimizers have no tensors."""
        if not self.ranks.is_first:
            return
        state = state_of(model, optimizers)
        if self._copies is None and num_bytes_of(state) * ROOM < free_bytes() - fallen_bytes():
            self._copies = {}
            self._begin(make_room, self._copies, state)

    def save(self, position: Position, *, model: nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        """Have the present state written, once the last one is; return as soon as it is copied.

        Where the memory for a copy is not there, return when it is written. Only the first rank writes.
        """
        if not self.ranks.is_first:
            hand_over(model, optimizers, ranks=self.ranks)
            return
        self.wait()
        self.make_room(model=model, optimizers=optimizers)
        self.wait()
        shot = snapshot(position, model=model, optimizers=optimizers, copies=self._copies, ranks=self.ranks)
        self._begin(self._write, shot)
        if self._copies is None:
            self.wait()

    def check(self) -> None:
        """Raise what stopped the last write, if anything did."""
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def wait(self) -> None:
        """Return once the last checkpoint is written; raise what stopped it, if anything did."""
        self.settle()
        self.check()

    def settle(self) -> None:
        """Return once nothing is being written any more."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _begin(self, work: Callable[..., None], *given: Any) -> None:
        def run() -> None:
            try:
                work(*given)
            except BaseException as error:
                self._error = error

        self._thread = threading.Thread(target=run, name="checkpoint", daemon=True)
        self._thread.start()

    def _write(self, shot: Snapshot) -> None:
        write(self.folder, shot)
        rotate(self.folder, keep=self.keep, best=shot.best)
