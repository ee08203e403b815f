"""How fast runners are, beside each other: what slows the machine down slows all of them."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

NUM_ROUNDS = 5
NUM_WARM_UP = 8

Work = Callable[[Any, Sequence[Any]], int]
"""Has a runner do items of work; gives the number of units (rows, tokens, samples) that they were."""


@dataclass(frozen=True)
class Speed:
    units_per_s: float
    """Median of the rounds."""
    speedup: float
    """Over the reference: the median of the rounds' own ratios."""
    p50_ms: float
    """Of one item on its own."""
    p99_ms: float


def measure_speeds(
    runners: Mapping[str, Any], items: Sequence[Any], work: Work, *, reference: str, num_latency_items: int
) -> dict[str, Speed]:
    """Time every runner on the same items, in turns, whole path."""
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
        )
        for name in runners
    }


def measure_rates(runners: Mapping[str, Any], items: Sequence[Any], work: Work) -> dict[str, list[float]]:
    """Units a second of each runner, by round; every round has its own items, the same for all."""
    rates: dict[str, list[float]] = {name: [] for name in runners}
    for first in range(NUM_ROUNDS):
        chosen = items[first::NUM_ROUNDS] or items
        for name, runner in runners.items():
            started = time.perf_counter()
            num_units = work(runner, chosen)
            rates[name].append(num_units / (time.perf_counter() - started))
    return rates


def measure_latencies(
    runners: Mapping[str, Any], items: Sequence[Any], work: Work, *, num_items: int
) -> dict[str, list[float]]:
    """Milliseconds for each of `num_items` single items; the items come again where there are fewer."""
    latencies: dict[str, list[float]] = {name: [] for name in runners}
    for number in range(num_items):
        item = items[number % len(items)]
        for name, runner in runners.items():
            started = time.perf_counter()
            work(runner, [item])
            latencies[name].append(1000 * (time.perf_counter() - started))
    return latencies
