"""The calibration of a classifier's scores, fitted on the validation split, and the threshold of "I do not know".

A temperature minimises the log loss of the validation rows (Guo et al. 2017). Isotonic regression (Zadrozny & Elkan
2002) fits a rising line for each label, one against the rest; the lines end at Platt's targets (Platt 1999), not at 0
and 1, so that no score says that a label cannot be. Both read the model's scores alone and are applied by the code that
serves them.

The threshold is the least confidence at which the lower Clopper-Pearson bound (Clopper & Pearson 1934), and not the
bare share, of right ones among the rows that are as sure or surer reaches the wanted precision. It is chosen among as
many as there are rows, so the bound is somewhat less sure than its level says; the test split, which took no part,
tells what it holds.

Legend: N rows, K classes.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.stats import beta
from sklearn.isotonic import IsotonicRegression

from components.evaluate.classification.metrics import Labels, Scores
from components.evaluate.figures import rounded
from components.params import Calibrate
from components.plumbing.errors import InputError, QualityError, examples
from serving.predictors.calibration import (
    MAX_KNOTS,
    MAX_TEMPERATURE,
    MIN_TEMPERATURE,
    Calibration,
    Isotonic,
    Knots,
    Temperature,
    logits_of,
)

SAME = 1.05  # of a temperature: one as near to the end of its range was not found within


def fit(
    scores: Scores, actual: Labels, settings: Calibrate, *, level: float
) -> tuple[Calibration, QualityError | None]:
    """Return the calibration of a model by its own scores of the validation split, (N, K), and their labels, (N,).

    The second is why no threshold reaches the wanted precision by a bound of the given confidence level; the
    calibration has none then. Raise InputError where no calibration fits.
    """
    way = WAYS[settings.method](scores, actual)
    if settings.precision is None:
        return Calibration(way), None
    try:
        threshold = threshold_of(way.apply(scores), actual, precision=settings.precision, level=level)
    except QualityError as error:
        return Calibration(way), error
    return Calibration(way, threshold, settings.precision), None


def check_rows(actual: Labels, labels: Sequence[str], settings: Calibrate) -> None:
    """Raise InputError where the validation split has too few rows of a label."""
    counts = np.bincount(actual, minlength=len(labels)).tolist()
    few = [f"{label} ({count})" for label, count in zip(labels, counts, strict=True) if count < settings.min_class_rows]
    if few:
        raise InputError(
            f"the validation split has fewer than {settings.min_class_rows} rows (evaluate.calibrate.min_class_rows) "
            f"of {examples(few)}, too few to calibrate on: raise preprocess.split.validation, give more rows of that "
            "label, lower the limit, or leave evaluate.calibrate out"
        )


def fit_temperature(scores: Scores, actual: Labels) -> Temperature:
    """Return the temperature that minimises the log loss of scores (N, K). InputError where it has no least value."""
    logits = logits_of(scores)

    def loss(log_temperature: float) -> float:
        return log_loss(logits / math.exp(log_temperature), actual)

    bounds = math.log(MIN_TEMPERATURE), math.log(MAX_TEMPERATURE)
    found: Any = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-7})
    value = float(f"{math.exp(found.x):.6g}")
    if value < MIN_TEMPERATURE * SAME or (scores.argmax(axis=1) == actual).all():
        raise InputError(
            f"the model is right on all {len(actual)} rows of the validation split, or as good as all, so that no "
            "temperature fits: raise preprocess.split.validation, or leave evaluate.calibrate out"
        )
    if value > MAX_TEMPERATURE / SAME:
        raise InputError(
            "the model's scores tell nothing of the labels of the validation split, so that no temperature fits: train "
            "a better model, or leave evaluate.calibrate out"
        )
    return Temperature(value)


def log_loss(logits: NDArray[np.float64], actual: Labels) -> float:
    """Return the mean negative log-likelihood, in nats, of the labels (N,) by logits (N, K)."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return float((np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(actual)), actual]).mean())


def fit_isotonic(scores: Scores, actual: Labels) -> Isotonic:
    """Return a rising line for each class from its scores (N, K) to the share of rows that are of it."""
    return Isotonic(tuple(line_of(scores[:, label], actual == label) for label in range(scores.shape[1])))


def line_of(scores: NDArray[np.float32], hit: NDArray[np.bool_]) -> Knots:
    """Return the line from the scores of one class (N,) to whether the row is of it, of at most MAX_KNOTS knots."""
    num_hits = int(hit.sum())
    lowest, highest = 1 / (len(hit) - num_hits + 2), (num_hits + 1) / (num_hits + 2)
    fitted = IsotonicRegression(y_min=lowest, y_max=highest, out_of_bounds="clip").fit(scores.astype(np.float64), hit)
    score, share = fitted.X_thresholds_, fitted.y_thresholds_
    if len(score) > MAX_KNOTS:
        kept = np.linspace(0, len(score) - 1, MAX_KNOTS).round().astype(np.int64)
        score, share = score[kept], share[kept]
    return Knots(tuple(score.tolist()), tuple(max(rounded(value), 10**-6) for value in share.tolist()))


WAYS: dict[str, Callable[[Scores, Labels], Temperature | Isotonic]] = {
    "temperature": fit_temperature,
    "isotonic": fit_isotonic,
}


def threshold_of(scores: Scores, actual: Labels, *, precision: float, level: float) -> float:
    """Return the least confidence of calibrated scores (N, K) from which on answers are as precise as wanted, by a
    bound of the given confidence level. QualityError where no confidence is."""
    confidence = scores.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    falling = confidence[order].astype(np.float64)
    is_last = np.append(falling[1:] < falling[:-1], True)  # of those that are equally sure
    num_rows = np.arange(1, len(order) + 1)[is_last]
    num_hits = np.cumsum(scores.argmax(axis=1)[order] == actual[order])[is_last]
    bounds = lower_bounds(num_hits, num_rows, level=level)
    reached = np.flatnonzero(bounds >= precision)
    if len(reached):
        return float(falling[is_last][reached[-1]])
    best = int(bounds.argmax())
    figures: dict[str, object] = {
        "precision": precision,
        "best_precision": rounded(bounds[best]),
        "best_share": rounded(num_rows[best] / len(order)),
        "best_threshold": rounded(falling[is_last][best]),
        "num_validation": len(order),
    }
    raise QualityError(
        f"no confidence reaches evaluate.calibrate.precision {precision:g} on the {len(order)} rows of the validation "
        f"split: the highest precision that is sure (lower {level:.0%} bound) is {bounds[best]:.4f}, of the "
        f"{num_rows[best]} surest rows, of which {num_hits[best]} are right. Ask for less, raise "
        "preprocess.split.validation, or train a better model",
        report=figures,
    )


def lower_bounds(num_hits: NDArray[np.int64], num_rows: NDArray[np.int64], *, level: float) -> NDArray[np.float64]:
    """Return the one-sided lower Clopper-Pearson bound of each share `num_hits / num_rows`."""
    found = beta.ppf(1 - level, num_hits, num_rows - num_hits + 1)
    return np.where(num_hits > 0, found, 0.0)
