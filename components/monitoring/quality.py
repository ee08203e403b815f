"""How good the answers were, where feedback says which label was right, beside the validation split; with the figures
and the bootstrap intervals of evaluate."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.evaluate.bootstrap import intervals
from components.evaluate.classification.metrics import (
    Figures,
    Weights,
    calibration_curve,
    calibration_metrics,
    counting_metrics,
)
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
    """Of the rows with feedback."""

    num_rows: int
    accuracy: Interval
    ece: Interval
    validation_accuracy: float
    curve: NDArray[np.float64]
    """Mean confidence, accuracy and rows of each bin, (M, 3)."""
    reasons: Sequence[str]
    """What is surely outside of the recipe's limits; empty, too, where there are too few rows to judge."""


def judge_quality(
    actual: NDArray[np.int64], scores: Scores, *, validation_accuracy: float, limits: Quality, seed: int
) -> Judgement | None:
    """The figures of answers (N, L) with the labels that were right (N,); None without any."""
    if not len(actual):
        return None
    count = counting_metrics(actual, scores.argmax(axis=1).astype(np.int64), num_classes=scores.shape[1])
    calibrate = calibration_metrics(actual, scores, num_bins=limits.bins)

    def statistic(weights: Weights) -> Figures:
        return {"accuracy": count(weights)["accuracy"], **calibrate(weights)}

    bootstrap = Bootstrap(num_samples=NUM_RESAMPLES, seed=seed, confidence=limits.confidence)
    found = intervals(statistic, num_rows=len(actual), bootstrap=bootstrap)
    accuracy, ece = (Interval(*(float(value) for value in found[name])) for name in ("accuracy", "ece"))
    reasons: list[str] = []
    if len(actual) >= limits.min_rows:
        if accuracy.high < validation_accuracy - limits.max_drop:
            reasons.append(
                f"accuracy on {len(actual)} rows with feedback is {accuracy.value:.3f} ({accuracy.low:.3f} to "
                f"{accuracy.high:.3f}), below {validation_accuracy:.3f} of the validation split by more than "
                f"{limits.max_drop:g}"
            )
        if ece.low > limits.max_ece:
            reasons.append(
                f"calibration error on {len(actual)} rows with feedback is {ece.value:.3f} ({ece.low:.3f} to "
                f"{ece.high:.3f}), above {limits.max_ece:g}"
            )
    curve = calibration_curve(actual, scores, num_bins=limits.bins)
    return Judgement(len(actual), accuracy, ece, validation_accuracy, curve, reasons)
