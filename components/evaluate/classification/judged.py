"""What the tables and plots of evaluate are made from."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.evaluate.classification.metrics import Labels, Scores
from components.plumbing.errors import ArtifactError

Found = dict[str, NDArray[np.float64]]
"""By name: a figure and the ends of its interval, (3,), or (K, 3) where there is one for each class."""


@dataclass(frozen=True)
class Judged:
    """The rows of the test split, and what the model and the baseline say of them."""

    labels: Sequence[str]
    """Names of the K classes."""
    row: NDArray[np.int64]
    """Number of each row in data.parquet, (N,)."""
    texts: Sequence[str] | None
    """None where the rows are no texts."""
    actual: Labels
    """(N,)"""
    scores: Scores
    """Of the model, (N, K)."""
    baseline: Scores
    """Of the baseline, (N, K)."""
    baseline_name: str
    """As it is called in messages and pictures."""
    control: Scores | None = None
    """Of the same model without pretraining, (N, K); None where there is none."""
    slices: Sequence[str] | None = None
    """The slice that each row belongs to; None where the recipe has none."""

    @property
    def predicted(self) -> Labels:
        """(N,)"""
        return self.scores.argmax(axis=1)


def check_finite(scores: Scores) -> None:
    """ArtifactError where the model gives a row no numbers."""
    num_wrong = int((~np.isfinite(scores)).any(axis=1).sum())
    if num_wrong:
        raise ArtifactError(
            f"the model's scores are not finite for {num_wrong} of {len(scores)} test rows; "
            "train it again with a lower finetune.optimizer.learning_rate"
        )
