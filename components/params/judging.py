"""What the figures of several tasks share: intervals, and the gate and the baselines of classifiers."""

from typing import Annotated, Literal

from pydantic import Field

from components.params.section import Positive, Section
from components.params.task import TaskFigures


class Bootstrap(Section):
    num_samples: Annotated[int, Field(ge=100)]
    seed: Annotated[int, Field(ge=0)]
    confidence: Annotated[float, Field(gt=0.5, lt=1)]


class QualityGate(Section):
    metric: Literal["accuracy", "f1_macro", "mcc"]
    min: float
    """The bar on the test split."""
    min_gain: float
    """The lower end of the paired bootstrap interval of (model - baseline) must lie above this."""


class ClassifierFigures(TaskFigures):
    """The figures of a classifier."""

    bootstrap: Bootstrap
    gate: QualityGate
    calibration_bins: Annotated[int, Field(ge=2, le=100)]
    """Bins of equal width over the confidence, for the expected calibration error."""
    num_mistakes: Positive
    """How many of the worst mistakes are kept."""
