"""The scores of the test split before and after a calibration that was fitted on the validation split.

Legend: N rows, K classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from components.evaluate.bootstrap import Figures, Statistic, Weights
from components.evaluate.classification.calibrate import check_rows, fit
from components.evaluate.classification.metrics import Labels, Scores, calibration_metrics, ratio
from components.evaluate.classification.split import read_split
from components.params import ClassifierFigures
from serving.predictors.calibration import Calibration, logits_of


@dataclass(frozen=True)
class Calibrated:
    """The scores of the test split before and after a calibration."""

    calibration: Calibration
    num_fitted: int
    """The number of validation rows that it was fitted on."""
    before: Scores
    """The model's own scores, (N, K)."""
    after: Scores
    """The calibrated scores, (N, K)."""


def calibrate(
    scores: Scores, validation: Path, score: Callable[[Path], Scores], *, labels: Sequence[str],
    params: ClassifierFigures,
) -> tuple[Calibrated | None, str]:  # fmt: skip
    """Fit a calibration on the validation split and apply it to scores (N, K) of the test split; None where the recipe
    asks for none. `score` gives the model's scores of a split.

    The second is why no threshold reaches the wanted precision, in words; empty where one does, or none is wanted.
    Raise InputError where the split is too small or too easy to fit anything on.
    """
    if params.calibrate is None:
        return None, ""
    actual = read_split(validation).label_id
    check_rows(actual, labels, params.calibrate)
    found, fault = fit(score(validation), actual, params.calibrate, level=params.bootstrap.confidence)
    after = found.way.apply(scores)
    return Calibrated(found, len(actual), before=scores, after=after), "" if fault is None else str(fault)


def calibrated_metrics(actual: Labels, calibrated: Calibrated, *, num_bins: int) -> Statistic:
    """Return the statistic of what the calibration changes on the test split; a gain above 0 is for the better.

    `coverage` and `answered_precision`, the share of the rows that are answered and the share of those that are right,
    are there where there is a threshold; the latter is undefined where no row is answered.
    """
    before, after = (
        calibration_metrics(actual, one, num_bins=num_bins) for one in (calibrated.before, calibrated.after)
    )
    loss_before, loss_after = (row_losses(one, actual) for one in (calibrated.before, calibrated.after))
    hit_before, hit_after = (one.argmax(axis=1) == actual for one in (calibrated.before, calibrated.after))
    found = calibrated.calibration
    answered = None if found.threshold is None else found.is_sure(calibrated.after)

    def figures(weights: Weights) -> Figures:
        total = weights.sum(axis=0, dtype=np.float64)
        errors = before(weights)["ece"], after(weights)["ece"]
        losses = (loss_before @ weights) / total, (loss_after @ weights) / total
        accuracies = (hit_before @ weights) / total, (hit_after @ weights) / total
        found = {
            "ece_before": errors[0],
            "ece_gain": errors[0] - errors[1],
            "log_loss_before": losses[0],
            "log_loss": losses[1],
            "log_loss_gain": losses[0] - losses[1],
            "accuracy_before": accuracies[0],
            "accuracy_gain": accuracies[1] - accuracies[0],
        }
        if answered is not None:
            num_answered, num_right = answered @ weights, (answered & hit_after) @ weights
            share = ratio(num_right, num_answered)
            found["coverage"] = num_answered / total
            found["answered_precision"] = np.where(num_answered > 0, share, np.nan)
        return found

    return figures


def row_losses(scores: Scores, actual: Labels) -> NDArray[np.float64]:
    """Return the negative log-likelihood, in nats, of each row's label by its scores (N, K), as (N,)."""
    return -logits_of(scores)[np.arange(len(actual)), actual]
