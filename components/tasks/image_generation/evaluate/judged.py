"""The judged samples of a generator, from which its report, its tables and its plots are made.

Legend: S samples, H and W their sides, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.tasks.image_generation.judging.classifier import Labels
from serving.predictors.pictures import Images


@dataclass(frozen=True)
class Judged:
    """The samples, and the classes that the classifier takes them for."""

    labels: Sequence[str]
    """The names of the K classes."""
    images: Images
    """The samples, (S, H, W)."""
    predicted: Labels
    """The class that each sample is taken for, (S,)."""
    shares: NDArray[np.float64]
    """The share of each class among the samples, (K,)."""
    real_shares: NDArray[np.float64]
    """The share of each class in the training split, (K,)."""
