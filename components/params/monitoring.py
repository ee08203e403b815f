"""The optional section `monitoring`: when the traffic of the service is no longer like what the model was made from. No
stage depends on it."""

from math import ceil
from typing import Annotated

from pydantic import Field, model_validator

from components.params.schedule import RunSchedule
from components.params.section import Positive, Section, Share

NUM_DETECTORS = 6
"""The most that are asked about one window; each gets an equal part of the false alarms."""


class Effects(Section):
    """How large a difference must be to matter: with enough rows the smallest is sure to be there. psi and ks count
    beyond what a window without drift has on average."""

    psi: Annotated[float, Field(ge=0)]
    """Population stability index, of tokens and of predicted labels; by custom 0.1 is small and 0.25 large."""
    ks: Share
    """Kolmogorov-Smirnov distance, of lengths, scores, and means and spreads of arrays."""
    auc: Annotated[float, Field(ge=0.5, le=1)]
    """Of a classifier that tells traffic from training rows; 0.5 is chance."""
    unknown: Share
    """Rise in the share of tokens that the tokenizer does not know."""


class Quality(Section):
    """What is judged where feedback says which label was right."""

    min_rows: Annotated[int, Field(ge=10)]
    """With feedback; fewer are shown and not judged."""
    max_drop: Share
    """Accuracy may lie so far below the one on the validation split; the upper end of its interval counts."""
    max_ece: Share
    """The expected calibration error may lie so far above the one on the validation split; the lower end of its
    interval counts."""
    bins: Annotated[int, Field(ge=2, le=100)]
    """Of equal width over the confidence."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)]
    """Of both intervals."""


class Limits(Section):
    """How the service does. Null where it is shown and not judged."""

    max_p95_ms: Annotated[float, Field(gt=0)] | None
    """Latency, inside the service, of the requests that were answered."""
    max_error_share: Share | None
    """Of the requests, those that failed with a 5xx, or were turned away."""


class Monitoring(Section):
    """monitoring: a window of the traffic log beside the training split."""

    window: Positive
    """Answered texts or arrays that are judged together, the newest; fewer where there are fewer."""
    min_rows: Annotated[int, Field(ge=30)]
    """A smaller window is not judged."""
    max_reference_rows: Annotated[int, Field(ge=1000)]
    """Of a larger training split so many are drawn."""
    false_alarms: Annotated[float, Field(gt=0, lt=0.5)]
    """Share of windows that raise an alarm by chance, though nothing changed: of all detectors together."""
    num_permutations: Positive
    """Of each null distribution."""
    seed: Annotated[int, Field(ge=0)]
    min_effects: Effects
    quality: Quality
    limits: Limits
    retrain: bool
    """Whether drift starts 'modelyard retrain'."""
    cool_down_s: Annotated[int, Field(ge=0)]
    """Between two retrainings that drift starts."""
    min_new_feedback: Positive
    """A version that was retrained for drift once is retrained for it again only after so many new rows with feedback:
    without any, the same drift would give the same model."""
    schedule: RunSchedule | None = None
    """When `modelyard worker` judges the newest window; null: by hand only. `limit_s` is of the judging, and of the
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
