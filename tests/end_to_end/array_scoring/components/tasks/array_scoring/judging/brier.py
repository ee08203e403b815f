"""The Brier score (Brier 1950): the mean squared distance of a probability from what came, 1 or 0; lower is better.

Legend: N rows, S resamples.
"""

import numpy as np
from numpy.typing import NDArray

Probabilities = NDArray[np.float64]


def squared_errors(probability: Probabilities, actual: NDArray[np.int64]) -> Probabilities:
    """Of each row, (N,)."""
    return np.square(probability - actual)


def brier(errors: Probabilities, weights: NDArray[np.float32]) -> NDArray[np.float64]:
    """The score of each resample, (S,), from how often it drew each row, (N, S)."""
    return errors @ weights / weights.sum(axis=0)
