"""How fast predictors are, beside each other: what slows the machine down slows all of them."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from serving.predictors.text_classification import Predictor

NUM_ROUNDS = 5
MAX_ROWS = 500  # seconds of work for torch, and enough for a ratio that is steady to a few percent


@dataclass(frozen=True)
class Speed:
    rows_per_s: float
    """Median of the rounds."""
    speedup: float
    """Over the reference: the median of the rounds' own ratios."""
    p50_ms: float
    """Of one row on its own."""
    p99_ms: float


def measure_speeds(
    predictors: Mapping[str, Predictor], texts: Sequence[str], *, reference: str, num_latency_rows: int
) -> dict[str, Speed]:
    """Time every predictor on the same texts, in turns, whole path: from text to scores."""
    for predictor in predictors.values():
        predictor.predict(texts[:8])
    rates = measure_rates(predictors, texts)
    latencies = measure_latencies(predictors, texts, num_rows=num_latency_rows)
    return {
        name: Speed(
            rows_per_s=float(np.median(rates[name])),
            speedup=float(np.median(np.divide(rates[name], rates[reference]))),
            p50_ms=float(np.percentile(latencies[name], 50)),
            p99_ms=float(np.percentile(latencies[name], 99)),
        )
        for name in predictors
    }


def measure_rates(predictors: Mapping[str, Predictor], texts: Sequence[str]) -> dict[str, list[float]]:
    """Rows a second of each predictor, by round; every round has its own rows, the same for all."""
    rates: dict[str, list[float]] = {name: [] for name in predictors}
    for first in range(NUM_ROUNDS):
        chosen = texts[:MAX_ROWS][first::NUM_ROUNDS] or texts
        for name, predictor in predictors.items():
            started = time.perf_counter()
            predictor.predict(chosen)
            rates[name].append(len(chosen) / (time.perf_counter() - started))
    return rates


def measure_latencies(
    predictors: Mapping[str, Predictor], texts: Sequence[str], *, num_rows: int
) -> dict[str, list[float]]:
    """Milliseconds for each of `num_rows` single rows; the texts come again where there are fewer."""
    latencies: dict[str, list[float]] = {name: [] for name in predictors}
    for row in range(num_rows):
        text = texts[row % len(texts)]
        for name, predictor in predictors.items():
            started = time.perf_counter()
            predictor.predict([text])
            latencies[name].append(1000 * (time.perf_counter() - started))
    return latencies
