"""The memory that a training holds at once, beside what is free; a training that cannot fit is
refused before it starts.

The worst moment of a step is found by `trace`: every tensor of the model's own step, from its birth to its end. The
scratch memory inside of a kernel, and what the process itself takes, come on top.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from components.estimate.trace import Trace
from components.plumbing.errors import InputError
from components.plumbing.memory import free_bytes
from components.training.ranks import Ranks

GB = 1e9


LIBRARIES_BYTES = 550_000_000
"""What a stage's process takes before a training, most of it for torch, transformers and MLflow."""
ALLOCATED = 1.12
"""What the process takes from the system for a byte of tensors: seen 1.0 to 1.3, since freed memory lies in pieces."""


@dataclass(frozen=True)
class Memory:
    """The memory of one training, in bytes."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    """The tensors that autograd keeps for the backward pass."""
    peak: int
    """The most that is held at once, at the worst moment of a step; gradients come as activations go, so it
    may be less than the sum."""

    def process_bytes(self, rows: int) -> int:
        """Return about how much the process of the training takes at most, with its libraries and the bytes of its
        `rows`."""
        return round(LIBRARIES_BYTES + rows + ALLOCATED * self.peak)

    def of_a_rank(self, ranks: Ranks) -> "Memory":
        """Return what each of several ranks holds, given what one that holds everything does."""
        if ranks.parallel != "fsdp":
            return self
        weights, gradients, optimizer = (
            -(-whole // ranks.size) for whole in (self.weights, self.gradients, self.optimizer)
        )
        spared = self.weights + self.gradients + self.optimizer - weights - gradients - optimizer
        return Memory(weights, gradients, optimizer, self.activations, max(0, self.peak - spared))

    @property
    def copies(self) -> int:
        """The bytes of this machine's memory that the copies of a checkpoint take, where they are taken: twice as much
        must be free then, or else the training waits while one is written (components/training/saving.py)."""
        return self.weights + self.optimizer

    @property
    def between(self) -> int:
        """The bytes that come and go within a step."""
        return max(0, self.peak - self.weights - self.gradients - self.optimizer - self.activations)


def memory_of(trace: Trace) -> Memory:
    return Memory(
        weights=trace.weight_bytes,
        gradients=trace.gradient_bytes,
        optimizer=trace.optimizer_bytes,
        activations=trace.activation_bytes,
        peak=trace.peak_bytes,
    )


def available_bytes(device: torch.device) -> int:
    """Return the bytes that are free on the device: of an accelerator's own memory, or of this machine's, as far as
    its control group may go."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return free_bytes()


def had_bytes(device: torch.device) -> int:
    """Return the bytes of the device that this process has by now or that are free."""
    reserved = torch.cuda.memory_reserved(device) if device.type == "cuda" else 0
    return available_bytes(device) + reserved


def refuse_what_cannot_fit(
    memory: Memory, *, free: int, device: torch.device, stage: str, lower: Mapping[str, object],
    smaller: Callable[[], str],
) -> None:  # fmt: skip
    """Raise InputError where the worst moment of a step needs more than is free.

    `lower` has the settings to lower, with their values; `smaller` looks for settings that take the same steps in less
    memory, and returns them in words, or nothing where there are none.
    """
    if memory.peak <= free:
        return
    where = "the CUDA device" if device.type == "cuda" else "this machine"
    told = ", ".join(f"{name} {getattr(memory, name) / GB:,.1f} GB" for name in PARTS)
    settings = ", ".join(f"{name} ({value})" for name, value in lower.items())
    better = smaller()
    raise InputError(
        f"{stage} needs about {memory.peak / GB:,.1f} GB at the worst moment of a step ({told}), beside its libraries, "
        f"but {where} has "
        f"{free / GB:,.1f} GB free; nothing was trained. {f'{better}, or lower' if better else 'Lower'} {settings}"
    )


PARTS = ("weights", "gradients", "optimizer", "activations")
