"""What the report, the tables and the plots of a generator are made from.

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
    """Samples and what the classifier takes them for."""

    labels: Sequence[str]
    """Names of the K classes."""
    images: Images
    """The samples, (S, H, W)."""
    predicted: Labels
    """The class that each is taken for, (S,)."""
    shares: NDArray[np.float64]
    """Of the samples, (K,)."""
    real_shares: NDArray[np.float64]
    """Of the training split, (K,)."""
