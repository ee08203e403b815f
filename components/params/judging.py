"""The settings that the figures of several tasks share: bootstrap intervals, and the quality gate of classifiers."""

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
    """The least value of the metric on the test split."""
    min_gain: float
    """The value that the lower end of the paired bootstrap interval of (model - baseline) must exceed."""


class ClassifierFigures(TaskFigures):
    """The section evaluate of a classifier."""

    bootstrap: Bootstrap
    gate: QualityGate
    calibration_bins: Annotated[int, Field(ge=2, le=100)]
    """The number of equally wide bins over the confidence for the expected calibration error."""
    num_mistakes: Positive
    """The number of worst mistakes to keep."""
