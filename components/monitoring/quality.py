"""The quality of the answers, where feedback says which label was right, beside that on the validation split; with the
figures and the bootstrap intervals of evaluate."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.evaluate.bootstrap import Statistic, intervals
from components.evaluate.classification.metrics import (
    calibration_curve,
    calibration_metrics,
    counting_metrics,
)
from components.monitoring.inputs import Reference
from components.params import Bootstrap, Quality
from serving.predictors.scores import Scores

NUM_RESAMPLES = 1000


@dataclass(frozen=True)
class Interval:
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Judgement:
    """The quality of the answers on the rows with feedback, beside the validation split's."""

    num_rows: int
    accuracy: Interval
    ece: Interval
    validation_accuracy: float
    validation_ece: float
    curve: NDArray[np.float64]
    """The calibration curve, (M, 3): mean confidence, accuracy and number of rows of each bin."""
    reasons: Sequence[str]
    """The figures that surely lie outside of the recipe's limits, in words; empty, too, where there
    are too few rows to judge."""


def judge_quality(
    actual: NDArray[np.int64], scores: Scores, reference: Reference, *, limits: Quality, seed: int
) -> Judgement | None:
    """Judge answers (N, L) by the labels that were right (N,), beside the same figures of the reference's validation
    split; None without any rows."""
    if not len(actual):
        return None
    bootstrap = Bootstrap(num_samples=NUM_RESAMPLES, seed=seed, confidence=limits.confidence)
    found = intervals(statistic_of(actual, scores, limits), num_rows=len(actual), bootstrap=bootstrap)
    accuracy, ece = (Interval(*(float(value) for value in found[name])) for name in ("accuracy", "ece"))
    of_validation = statistic_of(reference.actual, reference.scores, limits)
    known = {
        name: values.item() for name, values in of_validation(np.ones((len(reference.actual), 1), np.float32)).items()
    }
    reasons: list[str] = []
    if len(actual) >= limits.min_rows:
        if accuracy.high < known["accuracy"] - limits.max_drop:
            reasons.append(
                f"accuracy on {len(actual)} rows with feedback is {accuracy.value:.3f} ({accuracy.low:.3f} to "
                f"{accuracy.high:.3f}), below {known['accuracy']:.3f} of the validation split by more than "
                f"{limits.max_drop:g}"
            )
        if ece.low > known["ece"] + limits.max_ece:
            reasons.append(
                f"calibration error on {len(actual)} rows with feedback is {ece.value:.3f} ({ece.low:.3f} to "
                f"{ece.high:.3f}), above {known['ece']:.3f} of the validation split by more than {limits.max_ece:g}"
            )
    curve = calibration_curve(actual, scores, num_bins=limits.bins)
    return Judgement(len(actual), accuracy, ece, known["accuracy"], known["ece"], curve, reasons)


def statistic_of(actual: NDArray[np.int64], scores: Scores, limits: Quality) -> Statistic:
    """Return a function that gives accuracy and calibration error of the rows, by the weight of each."""
    count = counting_metrics(actual, scores.argmax(axis=1).astype(np.int64), num_classes=scores.shape[1])
    calibrate = calibration_metrics(actual, scores, num_bins=limits.bins)
    return lambda weights: {"accuracy": count(weights)["accuracy"], **calibrate(weights)}
