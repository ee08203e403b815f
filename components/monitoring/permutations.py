"""Permutation tests of how far a window lies from the reference, beside how far it would lie by chance.

The window and the reference are pooled, and as many rows as the window has are drawn from the pool again and again. If
the window came from where the reference came from, it is one such draw, so the share of draws that lie as far away is
an exact p-value, whatever the distribution, the size or the ties (Good 2005, "Permutation, parametric and bootstrap
tests of hypotheses"). Rows are drawn whole, so that the tokens of a text stay together.

Legend: N rows of the pool (those of the window first), F features, D draws, the first of which is the window itself.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array, csr_array

MAX_BINS = 512

Counts = NDArray[np.float64]
Null = NDArray[np.float64]
"""A statistic of the window and of each draw, (D,); the first is the window's."""


@dataclass(frozen=True)
class Distance:
    """A statistic beside its null distribution."""

    value: float
    null_mean: float
    null_high: float
    """The value that 99 of 100 windows without drift lie below."""
    p_value: float


def distance_of(null: Null) -> Distance:
    """Return the window's statistic, and the share of draws that lie as far away, as its p-value."""
    drawn = null[1:]
    return Distance(
        value=float(null[0]),
        null_mean=float(drawn.mean()),
        null_high=float(np.quantile(drawn, 0.99)),
        p_value=float((1 + (drawn >= null[0] - 1e-12).sum()) / len(null)),
    )


def draw(size: int, *, num_rows: int, num_draws: int, seed: int) -> csc_array:
    """Draw rows again and again: which rows are in the window (first) and in each draw, (N, D)."""
    random = np.random.default_rng(seed)
    chosen = [np.arange(size), *(random.choice(num_rows, size, replace=False, shuffle=False) for _ in range(num_draws))]
    rows = np.concatenate(chosen)
    ends = np.arange(len(chosen) + 1) * size
    return csc_array((np.ones(len(rows), np.float32), rows, ends), shape=(num_rows, len(chosen)))


def counted(features: csr_array, draws: csc_array) -> Counts:
    """Return the sum of each feature over each draw, (F, D)."""
    return np.asarray((features.T @ draws).todense(), np.float64)


def one_hot(values: NDArray[np.float64]) -> csr_array:
    """Return the place of each value among all values in order, (N, F); of more than MAX_BINS different values, those
    between two quantiles share one."""
    edges = np.unique(values)
    if len(edges) > MAX_BINS:
        edges = np.unique(np.quantile(values, np.linspace(0, 1, MAX_BINS + 1)[1:], method="higher"))
    place = np.minimum(np.searchsorted(edges, values), len(edges) - 1)
    return csr_array((np.ones(len(values), np.float32), place, np.arange(len(values) + 1)), (len(values), len(edges)))


def kolmogorov_smirnov(values: NDArray[np.float64], draws: csc_array) -> Null:
    """Return the largest gap between the distribution functions inside and outside of each draw, (D,); values (N,)."""
    features = one_hot(values)
    counts = counted(features, draws)  # (F, D)
    inside, outside = np.cumsum(counts, axis=0), np.cumsum(total(features) - counts, axis=0)
    return np.abs(inside / inside[-1] - outside / outside[-1]).max(axis=0)


def total(features: csr_array) -> Counts:
    """Return the sum of each feature over the pool, (F, 1)."""
    return np.asarray(features.sum(axis=0), np.float64).reshape(-1, 1)


def population_stability(features: csr_array, draws: csc_array) -> Null:
    """Return the population stability index, (D,), of the features' shares inside and outside of
    each draw; features (N, F).

    Half a count is added to each, so that a feature that one side lacks leaves the index finite.
    """
    inside = counted(features, draws)  # (F, D)
    outside = total(features) - inside
    p, q = shares(inside), shares(outside)
    return ((p - q) * np.log(p / q)).sum(axis=0)


def shares(counts: Counts) -> Counts:
    smooth = counts + 0.5
    return smooth / smooth.sum(axis=0, keepdims=True)


def rise(part: NDArray[np.float64], whole: NDArray[np.float64], draws: csc_array) -> Null:
    """Return how far the share `sum(part) / sum(whole)` inside of each draw lies above the one
    outside, (D,); both (N,)."""
    counts = counted(csr_array(np.stack([part, whole], axis=1)), draws)  # (2, D)
    all_part, all_whole = float(part.sum()), float(whole.sum())
    inside = counts[0] / np.maximum(counts[1], 1)
    return inside - (all_part - counts[0]) / np.maximum(all_whole - counts[1], 1)
