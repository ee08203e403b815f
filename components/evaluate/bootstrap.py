"""Bootstrap percentile intervals of any statistic, from rows drawn with replacement (Efron 1979).

A resample is given by how often each row was drawn, so a statistic sees all the resamples of a chunk as one matrix. Two
models judged by one statistic see the same draws: the interval of their difference is a paired one.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from components.params import Bootstrap
from components.plumbing.progress import progress

Weights = NDArray[np.float32]
Figures = dict[str, NDArray[np.float64]]
Statistic = Callable[[Weights], Figures]
"""A function of the weights (N, S) of N rows in S resamples that returns figures by name, each (S,), or (K, S) with one
for each of K classes; NaN where a figure is undefined."""

CHUNK_WEIGHTS = 1 << 20  # 4 MiB at a time: as fast as any size, and small for any number of rows


def intervals(statistic: Statistic, *, num_rows: int, bootstrap: Bootstrap) -> dict[str, NDArray[np.float64]]:
    """Return each figure by name, (..., 3): its value on the rows as they are, and the two ends of its interval.

    A resample in which a figure is undefined (a class is missing) does not count for that figure; the ends are NaN
    where it is undefined in all.
    """
    values = statistic(np.ones((num_rows, 1), np.float32))
    chunks: list[Figures] = []
    with progress("intervals", total=bootstrap.num_samples) as bar:
        for weights in resamples(num_rows, bootstrap):
            chunks.append(statistic(weights))
            bar.update(bar.done + weights.shape[1])
    found: dict[str, NDArray[np.float64]] = {}
    for name, value in values.items():
        samples = np.concatenate([chunk[name] for chunk in chunks], axis=-1)  # (..., S)
        ends = np.apply_along_axis(percentiles, -1, samples, confidence=bootstrap.confidence)  # (..., 2)
        found[name] = np.concatenate([value, ends], axis=-1)
    return found


def resamples(num_rows: int, bootstrap: Bootstrap) -> Iterator[Weights]:
    """Yield how often each row is drawn in each resample, (num_rows, S) for each chunk; the draws do not depend on the
    chunks."""
    random = np.random.default_rng(bootstrap.seed)
    size = max(1, CHUNK_WEIGHTS // num_rows)
    for start in range(0, bootstrap.num_samples, size):
        count = min(size, bootstrap.num_samples - start)
        drawn = [np.bincount(random.integers(num_rows, size=num_rows), minlength=num_rows) for _ in range(count)]
        yield np.ascontiguousarray(np.array(drawn, np.float32).T)


def percentiles(samples: NDArray[np.float64], *, confidence: float) -> NDArray[np.float64]:
    """Return the two ends that enclose the middle `confidence` of the defined samples; NaN where none is defined."""
    defined = samples[~np.isnan(samples)]
    if not len(defined):
        return np.array([np.nan, np.nan])
    outside = (1 - confidence) / 2
    return np.quantile(defined, [outside, 1 - outside])
