"""The speed of several runners, timed in turns so that a slowdown of the machine affects all of them alike."""

import math
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

NUM_ROUNDS = 5
NUM_WARM_UP = 8
MIN_ROUND_S = 0.02
"""The least seconds of a round: a small model takes its items again and again, in one call."""

Work = Callable[[Any, Sequence[Any]], int]
"""A function that lets a runner process items and returns their number in units (rows, tokens or samples)."""


@dataclass(frozen=True)
class Speed:
    units_per_s: float
    """The units per second, as the median of the rounds."""
    speedup: float
    """The speed relative to the reference, as the median of the ratios in each round."""
    p50_ms: float
    """The median milliseconds of a single item."""
    p99_ms: float
    batched_speedup: float | None = None
    """The speed relative to the float model in batches, in the same way; None where there is none."""


def measure_speeds(
    runners: Mapping[str, Any], items: Sequence[Any], work: Work, *, reference: str, num_latency_items: int,
    batched: str | None = None,
) -> dict[str, Speed]:  # fmt: skip
    """Time every runner on the same items, in turns, from input to answer; return the speeds by the runner's name.

    `reference` and `batched` name the runners of the float model, called as the service calls and in batches.
    """
    for runner in runners.values():
        work(runner, items[:NUM_WARM_UP])
    rates = measure_rates(runners, items, work)
    latencies = measure_latencies(runners, items, work, num_items=num_latency_items)
    return {
        name: Speed(
            units_per_s=float(np.median(rates[name])),
            speedup=float(np.median(np.divide(rates[name], rates[reference]))),
            p50_ms=float(np.percentile(latencies[name], 50)),
            p99_ms=float(np.percentile(latencies[name], 99)),
            batched_speedup=float(np.median(np.divide(rates[name], rates[batched]))) if batched else None,
        )
        for name in runners
    }


def measure_rates(runners: Mapping[str, Any], items: Sequence[Any], work: Work) -> dict[str, list[float]]:
    """Return each runner's units per second in each round; a round has items of its own, the same for all runners."""
    rates: dict[str, list[float]] = {name: [] for name in runners}
    repeats = 0
    for first in range(NUM_ROUNDS):
        chosen = items[first::NUM_ROUNDS] or items
        repeats = repeats or num_repeats(runners, chosen, work)
        chosen = [item for _ in range(repeats) for item in chosen]
        for name, runner in runners.items():
            started = time.perf_counter()
            num_units = work(runner, chosen)
            rates[name].append(num_units / (time.perf_counter() - started))
    return rates


def num_repeats(runners: Mapping[str, Any], items: Sequence[Any], work: Work) -> int:
    """Return how often the items stand in a round, so that the fastest runner has MIN_ROUND_S of work."""
    took_s: list[float] = []
    for runner in runners.values():
        started = time.perf_counter()
        work(runner, items)
        took_s.append(time.perf_counter() - started)
    return max(1, math.ceil(MIN_ROUND_S / max(min(took_s), 1e-6)))


def measure_latencies(
    runners: Mapping[str, Any], items: Sequence[Any], work: Work, *, num_items: int
) -> dict[str, list[float]]:
    """Return each runner's milliseconds for each of `num_items` single items; fewer items than that are repeated."""
    latencies: dict[str, list[float]] = {name: [] for name in runners}
    for number in range(num_items):
        item = items[number % len(items)]
        for name, runner in runners.items():
            started = time.perf_counter()
            work(runner, [item])
            latencies[name].append(1000 * (time.perf_counter() - started))
    return latencies


@contextmanager
def torch_threads(number: int) -> Generator[None]:
    """Limit torch to `number` threads per operation inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
