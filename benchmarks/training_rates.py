"""The rate of a training, from what the loop tells of it, and of the machine's matrix products, as its limit."""

import statistics
import time
from collections.abc import Mapping
from typing import Any

MATRIX = 2048


def matrix_rate(precision: str) -> float:
    """The most floating-point operations per second of a large matrix product, over several."""
    import torch

    left = torch.ones(MATRIX, MATRIX, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
    best = float("inf")
    for _ in range(10):
        began = time.perf_counter()
        torch.mm(left, left)
        best = min(best, time.perf_counter() - began)
    return 2 * MATRIX**3 / best


def kept_points() -> tuple[Any, list[dict[str, float]]]:
    """A tracker that keeps what the loop says of its rate, and the list that it fills."""
    from components.tracking.tracker import NullTracker

    points: list[dict[str, float]] = []

    class Keeping(NullTracker):
        def log_metrics(self, values: Mapping[str, float], *, step: int) -> None:
            del step
            points.append(dict(values))

    return Keeping(), points


def rate_of(points: list[dict[str, float]], name: str) -> float:
    """The harmonic mean over the points after the first tenth, which stand for as many steps each."""
    rates = [point[name] for point in points if name in point]
    return statistics.harmonic_mean(rates[len(rates) // 10 :])
