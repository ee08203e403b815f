"""The Fréchet distance between two sets of features (Dowson & Landau 1982; Heusel et al. 2017 for generated images).

Each set counts as a normal distribution of its mean and covariance: |m1 - m2|² + tr(C1 + C2 - 2 (C1 C2)^½). It falls
towards 0 as the sets become alike; with few rows it does not reach 0 even for two halves of one set.

Legend: N rows, D features.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """The normal distribution that stands for a set of features."""

    mean: Features
    """The mean of the features, (D,)."""
    covariance: Features
    """The covariance of the features, (D, D)."""


def moments_of(features: NDArray[np.floating]) -> Moments:
    """Return the moments of features (N, D), with N above 1; the covariance is the unbiased one."""
    assert len(features) > 1
    rows = features.astype(np.float64)
    return Moments(mean=rows.mean(axis=0), covariance=np.atleast_2d(np.cov(rows, rowvar=False)))


def frechet_distance(first: Moments, second: Moments) -> float:
    """Return the Fréchet distance of two normal distributions, never below 0.

    tr (C1 C2)^½ is the sum of the roots of the eigenvalues of C1^½ C2 C1^½, which is symmetric. Unlike the root of C1
    C2 itself, that needs no complex numbers, and stands features that never vary.
    """
    values, vectors = np.linalg.eigh(first.covariance)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T  # C1^½, (D, D)
    shared = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ second.covariance @ root), 0)).sum()
    apart = np.square(first.mean - second.mean).sum()
    return max(float(apart + np.trace(first.covariance) + np.trace(second.covariance) - 2 * shared), 0.0)
