"""The reading of a profiler's record of steps: the share of each phase, and of each operation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch.utils.flop_counter import flop_registry

from components.training.phases import PHASES

STEP = "ProfilerStep"
"""How the names of a step's events begin."""
OTHER = "other"
PRODUCTS = frozenset({str(packet).split(".")[-1] for packet in flop_registry}) | {
    "mkldnn_rnn_layer", "mkldnn_rnn_layer_backward", "_cudnn_rnn", "_cudnn_rnn_backward", "_linear_pointwise",
}  # fmt: skip
"""The operations that multiply matrices, by the last part of their name."""


@dataclass(frozen=True)
class Operation:
    """An operation of the recorded steps, without those that it calls."""

    name: str
    share: float
    """Its share of the recorded steps' time."""
    step_s: float
    """Its seconds in a step."""
    calls: float
    """Its calls in a step."""

    @property
    def is_product(self) -> bool:
        """Whether it multiplies matrices."""
        return self.name.split("::")[-1] in PRODUCTS


@dataclass(frozen=True)
class Recorded:
    """The time of some recorded steps, and its shares by phase and by operation."""

    step_s: float
    """The seconds of a step, with what the profiler adds."""
    shares: dict[str, float]
    """By phase, and of what is in none of them, the share of the time."""
    operations: tuple[Operation, ...]
    """The operations, the dearest first."""

    @property
    def product_share(self) -> float:
        """The share of the time that products of matrices take."""
        return sum(operation.share for operation in self.operations if operation.is_product)


def read(profiler: Any) -> Recorded:
    """Read what a profiler recorded of whole steps."""
    events: Sequence[Any] = [event for event in profiler.events() if event.device_type.name == "CPU"]
    steps = [event for event in events if event.name.startswith(STEP)]
    total_us = sum(step.time_range.elapsed_us() for step in steps)
    seen: dict[str, float] = dict.fromkeys(map(str, PHASES), 0.0)
    for event in events:
        if event.name in seen:
            seen[event.name] += event.time_range.elapsed_us()
    shares = {name: us / total_us for name, us in seen.items()}
    shares[OTHER] = max(0.0, 1 - sum(shares.values()))
    return Recorded(total_us / len(steps) / 1e6, shares, operations(profiler, seen, total_us, num_steps=len(steps)))


def operations(
    profiler: Any, phases: Mapping[str, float], total_us: float, *, num_steps: int
) -> tuple[Operation, ...]:  # fmt: skip
    """Return the operations of the steps, the dearest first, by the time of the device that ran them."""
    averages: Sequence[Any] = profiler.key_averages()
    is_on_gpu = any(average.self_device_time_total for average in averages)
    found: list[Operation] = []
    for average in averages:
        if average.key in phases or average.is_user_annotation or average.device_type.name != "CPU":
            continue
        us: float = average.self_device_time_total if is_on_gpu else average.self_cpu_time_total
        found.append(Operation(average.key, us / total_us, us / num_steps / 1e6, average.count / num_steps))
    return tuple(sorted(found, key=lambda operation: -operation.step_s))
