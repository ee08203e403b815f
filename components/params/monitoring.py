"""The optional section `monitoring`: when a service's traffic counts as drifted from the model's training data.

No stage depends on it.
"""

from math import ceil
from typing import Annotated, Literal

from pydantic import Field, model_validator

from components.params.schedule import RunSchedule
from components.params.section import Positive, Section, Share

NUM_DETECTORS = 6
"""The most detectors that judge one window; each gets an equal part of the allowed false alarms."""
MAX_ROUNDING = 0.01
"""By how much shares that were written by hand may miss 1."""


class Effects(Section):
    """The smallest differences that count as drift.

    A minimum is needed because with enough rows even the smallest difference is statistically certain. psi and ks count
    in excess of what a window without drift has on average.
    """

    psi: Annotated[float, Field(ge=0)]
    """The least population stability index of tokens and of predicted labels; by convention 0.1 is small and 0.25
    large."""
    ks: Share
    """The least Kolmogorov-Smirnov distance of lengths, scores, and means and spreads of arrays."""
    auc: Annotated[float, Field(ge=0.5, le=1)]
    """The least area under the ROC curve of a classifier that tells traffic from training rows; 0.5 is chance."""
    unknown: Share
    """The least rise in the share of tokens that the tokenizer does not know."""


class Quality(Section):
    """The limits of the quality of answers, judged where feedback says which label was right."""

    min_rows: Annotated[int, Field(ge=10)]
    """The least number of rows with feedback to judge; with fewer the figures are shown only."""
    max_drop: Share
    """The most by which accuracy may lie below the accuracy on the validation split; the upper end of its interval
    counts."""
    max_ece: Share
    """The most by which the expected calibration error may lie above the one on the validation split; the lower end of
    its interval counts."""
    bins: Annotated[int, Field(ge=2, le=100)]
    """The number of equally wide bins over the confidence."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)]
    """The confidence level of both intervals."""


class Limits(Section):
    """The limits of the service itself; null where a figure is shown and not judged."""

    max_p95_ms: Annotated[float, Field(gt=0)] | None
    """The largest 95th percentile of latency, in milliseconds inside the service, over the requests that were
    answered."""
    max_error_share: Share | None
    """The largest share of requests that failed with a 5xx status or were turned away."""


class Monitoring(Section):
    """The section that compares a window of the traffic log with the training split."""

    window: Positive
    """The number of newest answered texts or arrays to judge together; all of them where there are fewer."""
    min_rows: Annotated[int, Field(ge=30)]
    """The least number of rows in a window that is judged."""
    max_reference_rows: Annotated[int, Field(ge=1000)]
    """The most rows of the training split to compare with; a larger split is sampled."""
    false_alarms: Annotated[float, Field(gt=0, lt=0.5)]
    """The share of windows that raise an alarm by chance although nothing changed, over all detectors together."""
    num_permutations: Positive
    """The number of permutations for each null distribution."""
    seed: Annotated[int, Field(ge=0)]
    min_effects: Effects
    quality: Quality
    limits: Limits
    retrain: bool | Literal["sweep"]
    """True to start 'modelyard retrain' on drift; `sweep` to search better settings after it, too, which are told and
    never written into params.yaml."""
    cool_down_s: Annotated[int, Field(ge=0)]
    """The least seconds between two retrainings that drift starts."""
    expected_labels: dict[str, Annotated[float, Field(gt=0, le=1)]] | None = None
    """The share of each label among what the service is asked, where the rows to train on were sampled otherwise (half
    and half, say); a label that is left out is not expected. None where the rows have the mix of the traffic."""
    min_new_feedback: Positive
    """The number of new rows with feedback after which a version already retrained for drift is retrained for it again;
    without new rows, the same drift would give the same model."""
    schedule: RunSchedule | None = None
    """The times at which `modelyard worker` judges the newest window; null to judge by hand only. `limit_s` covers the
    judging and the retraining that drift starts."""

    @model_validator(mode="after")
    def _fits(self) -> "Monitoring":
        if self.window < self.min_rows:
            raise ValueError(f"window {self.window} is below min_rows {self.min_rows}; no window would be judged")
        shares = self.expected_labels
        if shares is not None and abs(sum(shares.values()) - 1) > MAX_ROUNDING:
            raise ValueError(f"expected_labels has shares that sum to {sum(shares.values()):g}; they must sum to 1")
        least = ceil(NUM_DETECTORS / self.false_alarms) - 1
        if self.num_permutations < least:
            raise ValueError(
                f"num_permutations {self.num_permutations} cannot tell a chance of {self.false_alarms:g} shared by "
                f"{NUM_DETECTORS} detectors; it needs {least}"
            )
        return self
