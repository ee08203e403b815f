"""The optional section `monitoring`: when the traffic of the service is no longer like the data that the model was made
from. No stage depends on it."""

from math import ceil
from typing import Annotated

from pydantic import Field, model_validator

from components.params.schedule import RunSchedule
from components.params.section import Positive, Section, Share

NUM_DETECTORS = 6
"""The most detectors that are asked about one window; each gets an equal part of the false alarms."""


class Effects(Section):
    """The least differences that matter: with enough rows even the smallest is found for certain. psi and ks count
    beyond what a window without drift has on average."""

    psi: Annotated[float, Field(ge=0)]
    """The least population stability index of tokens and of predicted labels; by custom 0.1 is small and 0.25 large."""
    ks: Share
    """The least Kolmogorov-Smirnov distance of lengths, scores, and means and spreads of arrays."""
    auc: Annotated[float, Field(ge=0.5, le=1)]
    """The least area under the ROC curve of a classifier that tells traffic from training rows; 0.5 is chance."""
    unknown: Share
    """The least rise in the share of tokens that the tokenizer does not know."""


class Quality(Section):
    """The limits of the answers' quality, where feedback says which label was right."""

    min_rows: Annotated[int, Field(ge=10)]
    """The least rows with feedback that are judged; fewer are shown only."""
    max_drop: Share
    """The most by which accuracy may lie below that on the validation split; the upper end of its interval counts."""
    max_ece: Share
    """The most by which the expected calibration error may lie above that on the validation split; the lower
    end of its interval counts."""
    bins: Annotated[int, Field(ge=2, le=100)]
    """The number of bins of equal width over the confidence."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)]
    """The confidence of both intervals."""


class Limits(Section):
    """The limits of the service itself. Null where a figure is shown and not judged."""

    max_p95_ms: Annotated[float, Field(gt=0)] | None
    """The most milliseconds that the 95th percentile of latency may reach, inside the service, of the
    requests that were answered."""
    max_error_share: Share | None
    """The most requests, as a share of all, that failed with a 5xx or were turned away."""


class Monitoring(Section):
    """monitoring: the comparison of a window of the traffic log with the training split."""

    window: Positive
    """The number of newest answered texts or arrays that are judged together; fewer where there are fewer."""
    min_rows: Annotated[int, Field(ge=30)]
    """The least rows of a window that is judged."""
    max_reference_rows: Annotated[int, Field(ge=1000)]
    """The most rows of the training split to compare with; of a larger split, so many are drawn."""
    false_alarms: Annotated[float, Field(gt=0, lt=0.5)]
    """The share of windows that raise an alarm by chance, though nothing changed: of all detectors together."""
    num_permutations: Positive
    """The number of permutations for each null distribution."""
    seed: Annotated[int, Field(ge=0)]
    min_effects: Effects
    quality: Quality
    limits: Limits
    retrain: bool
    """Whether drift starts 'modelyard retrain'."""
    cool_down_s: Annotated[int, Field(ge=0)]
    """The least seconds between two retrainings that drift starts."""
    min_new_feedback: Positive
    """The new rows with feedback after which a version that was retrained for drift once is retrained for it again:
    without any, the same drift would give the same model."""
    schedule: RunSchedule | None = None
    """When `modelyard worker` judges the newest window; null: by hand only. `limit_s` covers the judging and the
    retraining that drift starts."""

    @model_validator(mode="after")
    def _fits(self) -> "Monitoring":
        if self.window < self.min_rows:
            raise ValueError(f"window {self.window} is below min_rows {self.min_rows}; no window would be judged")
        least = ceil(NUM_DETECTORS / self.false_alarms) - 1
        if self.num_permutations < least:
            raise ValueError(
                f"num_permutations {self.num_permutations} cannot tell a chance of {self.false_alarms:g} shared by "
                f"{NUM_DETECTORS} detectors; it needs {least}"
            )
        return self
