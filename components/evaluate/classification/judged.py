"""The predictions on the test split, from which the tables, the plots and the page of evaluate are made."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.evaluate.classification.calibrated import Calibrated
from components.evaluate.classification.metrics import Labels, Scores
from components.plumbing.errors import ArtifactError

Found = dict[str, NDArray[np.float64]]
"""By name, a figure and the ends of its interval, (3,); or (K, 3) with one row for each class."""


@dataclass(frozen=True)
class Judged:
    """The rows of the test split with the scores of the model and of the baseline."""

    labels: Sequence[str]
    """The names of the K classes."""
    row: NDArray[np.int64]
    """The number of each row in data.parquet, (N,)."""
    texts: Sequence[str] | None
    """The N texts; None where the rows hold no texts."""
    actual: Labels
    """The actual class number of each row, (N,)."""
    scores: Scores
    """The scores of the model, calibrated where the recipe asks for it, (N, K)."""
    baseline: Scores
    """The scores of the baseline, (N, K)."""
    baseline_name: str
    """The name of the baseline in messages and plots."""
    baseline_note: str = ""
    """How the baseline was chosen and trained, in a sentence or two for the page."""
    control: Scores | None = None
    """The scores of the model trained without pretraining, (N, K); None where there is no such control."""
    slices: Sequence[str] | None = None
    """The slice of each row, N of them; None where the recipe has no slices."""
    images: NDArray[np.uint8] | None = None
    """The rows in grey levels, (N, H, W); None where they are no images."""
    calibrated: Calibrated | None = None
    """The calibration that made the scores; None where they are the model's own."""

    @property
    def predicted(self) -> Labels:
        """The model's class number for each row, (N,)."""
        return self.scores.argmax(axis=1)


def check_finite(scores: Scores) -> None:
    """Raise ArtifactError where a row has a score that is NaN or infinite."""
    num_wrong = int((~np.isfinite(scores)).any(axis=1).sum())
    if num_wrong:
        raise ArtifactError(
            f"the model's scores are not finite for {num_wrong} of {len(scores)} test rows; "
            "train it again with a lower finetune.optimizer.learning_rate"
        )
