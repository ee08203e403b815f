"""The ranks of a training: processes with a device each that train one model together.

Here is the training on one device, which has a single rank and nothing to agree on; many.py has the others. Every rank
goes through the same loop on the same batches, of which it computes its own part; only the first one tracks, shows and
writes.
"""

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn

from components.plumbing.errors import ModelyardError
from components.training.objective import Objective

T = TypeVar("T")


class Ranks:
    """The one rank of a training on one device."""

    rank = 0
    """The number of this process among those of the training, from 0 on."""
    size = 1
    """The number of processes of the training."""
    local_size = 1
    """The number of them on this machine."""
    parallel = ""
    """What each device holds (`ddp`, `fsdp`), where there are several."""

    @property
    def is_first(self) -> bool:
        """Whether this is the rank that tracks, shows and writes."""
        return self.rank == 0

    @property
    def device(self) -> torch.device:
        """The device of this process."""
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")

    @property
    def birthplace(self) -> torch.device:
        """The device on which the model is made, before it is spread."""
        return self.device

    def spread(self, model: nn.Module, objective: Objective) -> Objective:
        """Give each rank its part of the model, with the first one's weights; return the objective of this rank.

        Raise InputError where the model cannot be divided so.
        """
        del model
        return objective

    def collected(self, model: nn.Module) -> nn.Module:
        """Return the model as it was before it was spread, on the CPU; its weights count on the first rank alone."""
        return model.cpu()

    def total(self, loss: Tensor) -> Tensor:
        """Return the loss of the whole batch, of which each rank has its part's."""
        return loss

    def whole(self, tensor: Tensor) -> Tensor:
        """Return a tensor of which each rank may hold a part; every rank must ask for it."""
        return tensor

    def laid_out(self, value: Tensor, like: Tensor) -> Tensor:
        """Return the part that this rank holds of a whole tensor, divided as `like` is."""
        del like
        return value

    def first_does(self, work: Callable[[], T]) -> T:
        """Have the first rank do something; return its result, which must be JSON, on every rank."""
        return work()

    def from_first(self, tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        """Yield the first rank's tensors by name, one after another, on every rank; what the others give is not
        read."""
        yield from tensors.items()

    def random_states(self) -> dict[str, Tensor]:
        """Return the random states of the other ranks by name, on the first rank."""
        return {}

    def restore_random(self, states: Mapping[str, Tensor], *, step: int) -> None:
        """Set the random state of this rank, from those of the ranks of a checkpoint after `step` steps."""
        del step
        set_random_state(states)

    def failed(self, error: BaseException) -> ModelyardError | None:
        """Return the error of another rank that was the reason for this one, which the first rank says; None where it
        is this rank's own, which the other ranks are told of."""
        del error
        return None

    def leave(self) -> None:
        """End what the ranks speak through."""


ALONE = Ranks()


class Present:
    """The ranks that this process belongs to: a process has one device, and trains one model at a time."""

    ranks: Ranks = ALONE


@contextmanager
def belonging_to(ranks: Ranks) -> Generator[Ranks]:
    """Have trainings in the block run on these ranks."""
    before, Present.ranks = Present.ranks, ranks
    try:
        yield ranks
    finally:
        Present.ranks = before


def random_state() -> dict[str, Tensor]:
    """Return the random states of the CPU and, where there is one, the GPU, on which dropout depends."""
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(states: Mapping[str, Tensor]) -> None:
    """Set the random states that `random_state` returned; that of a GPU only where there is one."""
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
