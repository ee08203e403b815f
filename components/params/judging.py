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


class Calibrate(Section):
    """The fit of the scores to how often they are right, on the validation split; what is served has it."""

    method: Literal["temperature", "isotonic"]
    """One number for all scores, which leaves their order as it is; or a rising line for each label, which needs more
    rows and may change which label is the likeliest."""
    min_class_rows: Positive
    """The least rows of each label that the validation split must hold."""
    precision: Annotated[float, Field(gt=0, lt=1)] | None
    """The share of right ones among the answers that are not "I do not know"; answers then say `abstain` where their
    confidence is too low for it. Null for answers that all count."""


class FindSlices(Section):
    """A search for the slices of the test split on which the model is surely worse than on the rest."""

    min_rows: Annotated[int, Field(ge=5)]
    """The least rows of a slice, and of the rest that it is compared with."""
    clusters: Annotated[int, Field(ge=2, le=200)]
    """The number of clusters, by k-means on the training split, whose rows are slices."""
    seed: Annotated[int, Field(ge=0)]
    shown: Positive
    """The most slices that are shown; all that are looked at count in the correction."""


class FindTextSlices(FindSlices):
    """A search for slices among texts, whose words are slices, too."""

    max_words: Annotated[int, Field(ge=0, le=5000)]
    """The most words whose rows are slices, the most frequent of the training split."""


class LabelErrors(Section):
    """A search for labels that are likely wrong, by the confident disagreement of classifiers that did not see them."""

    folds: Annotated[int, Field(ge=2, le=20)]
    """The number of parts of the rows, of which each is asked of a classifier that was trained on the others."""
    shown: Positive
    """The most rows that are listed in the report; the table holds all that are suspected."""
    seed: Annotated[int, Field(ge=0)]
    max_rows: Annotated[int, Field(ge=100)]
    """The most rows, a seeded sample, that are looked at."""


class ClassifierFigures(TaskFigures):
    """The section evaluate of a classifier."""

    bootstrap: Bootstrap
    gate: QualityGate
    calibration_bins: Annotated[int, Field(ge=2, le=100)]
    """The number of equally wide bins over the confidence for the expected calibration error."""
    num_mistakes: Positive
    """The number of worst mistakes to keep."""
    label_errors: LabelErrors | None = None
    """How labels that are likely wrong are looked for; null for not at all."""
    calibrate: Calibrate | None = None
    """The calibration of the scores; null serves them as the model gives them."""
