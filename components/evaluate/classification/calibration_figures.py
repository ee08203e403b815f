"""The figures on a calibration in evaluate's report."""

from dataclasses import dataclass, field, fields
from typing import Any

from components.evaluate.classification.judged import Judged
from components.evaluate.figures import rounded
from components.plumbing.artifacts import WHERE_KNOWN
from serving.predictors.calibration import Temperature


def where_calibrated() -> Any:
    """Declare a field of a `Report` that report.json has only where scores are calibrated."""
    return field(default=None, metadata=WHERE_KNOWN)


@dataclass(frozen=True, kw_only=True)
class CalibrationFigures:
    """The figures of a calibration on the test split; without a calibration there are none. All others of the report
    are of calibrated scores.

    The control and the baseline are not calibrated. A gain above 0 is for the better, with its paired interval. The
    log loss is in nats. `coverage` is the share of rows that are answered, where a threshold tells an answer from "I do
    not know", and `answered_precision` the share of those that are right, None where no row is answered.
    """

    calibration: str | None = where_calibrated()
    """The method: temperature or isotonic."""
    temperature: float | None = where_calibrated()
    num_calibrated_on: int | None = where_calibrated()
    """The number of validation rows that the calibration was fitted on."""
    ece_before: float | None = where_calibrated()
    ece_before_low: float | None = where_calibrated()
    ece_before_high: float | None = where_calibrated()
    ece_gain: float | None = where_calibrated()
    ece_gain_low: float | None = where_calibrated()
    ece_gain_high: float | None = where_calibrated()
    log_loss_before: float | None = where_calibrated()
    log_loss_before_low: float | None = where_calibrated()
    log_loss_before_high: float | None = where_calibrated()
    log_loss: float | None = where_calibrated()
    log_loss_low: float | None = where_calibrated()
    log_loss_high: float | None = where_calibrated()
    log_loss_gain: float | None = where_calibrated()
    log_loss_gain_low: float | None = where_calibrated()
    log_loss_gain_high: float | None = where_calibrated()
    accuracy_before: float | None = where_calibrated()
    """The accuracy by the model's own scores, which a temperature leaves as it is."""
    accuracy_gain: float | None = where_calibrated()
    accuracy_gain_low: float | None = where_calibrated()
    accuracy_gain_high: float | None = where_calibrated()
    wanted_precision: float | None = where_calibrated()
    threshold: float | None = where_calibrated()
    """The least confidence of an answer that is not "I do not know"."""
    coverage: float | None = where_calibrated()
    coverage_low: float | None = where_calibrated()
    coverage_high: float | None = where_calibrated()
    answered_precision: float | None = where_calibrated()
    answered_precision_low: float | None = where_calibrated()
    answered_precision_high: float | None = where_calibrated()


OF_CALIBRATION = frozenset(one.name for one in fields(CalibrationFigures))


def calibration_settings(judged: Judged) -> dict[str, Any]:
    """Return what was fitted, as fields of `CalibrationFigures`; nothing where no score is calibrated."""
    if judged.calibrated is None:
        return {}
    found = judged.calibrated.calibration
    threshold = None if found.threshold is None else rounded(found.threshold)
    return {
        "calibration": found.method,
        "temperature": found.way.value if isinstance(found.way, Temperature) else None,
        "num_calibrated_on": judged.calibrated.num_fitted,
        "wanted_precision": found.precision,
        "threshold": threshold,
    }
