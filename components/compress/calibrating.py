"""The calibration of a candidate, fitted to its own scores of the validation split as evaluate fits the float model's.

A student and a network in fewer bits are as right as the trained one and not as sure, so that neither its temperature
nor its threshold holds for them.

Shapes: N rows, L labels.
"""

import logging
import math
from pathlib import Path

from components.compress.limit import Limit
from components.evaluate.classification.calibrate import fit
from components.evaluate.classification.metrics import Labels, Scores
from components.params import Calibrate
from components.plumbing.artifacts import write_json
from components.plumbing.errors import InputError
from serving.predictors.calibration import CALIBRATION, Calibration

logger = logging.getLogger(__name__)


def calibrate(
    folder: Path, scores: Scores, actual: Labels, settings: Calibrate, *, level: float, of_float: Calibration
) -> tuple[Limit, ...]:
    """Fit a calibration to a candidate's own scores (N, L) of the validation split, whose labels are (N,), and write it
    into its folder.

    One that makes no mistake there has nothing to fit a temperature to, and takes that of the float model. Return what
    speaks against the candidate: that no calibration fits, or that no threshold of it is as precise as wanted.
    """
    try:
        found, fault = fit(scores, actual, settings, level=level)
    except InputError as error:
        if (scores.argmax(axis=1) == actual).all():
            logger.warning("it makes no mistake on the validation split, so it is calibrated as the float model is")
            write_json(folder / CALIBRATION, of_float.as_data())
            return ()
        return (Limit("", float("nan"), 0.0, is_least=False, words=str(error)),)
    write_json(folder / CALIBRATION, found.as_data())
    if fault is None or settings.precision is None:
        return ()
    # Rounded, it may look as precise as wanted.
    best = min(float(str(fault.report["best_precision"])), math.nextafter(settings.precision, 0))
    words = f"of its surest answers, {best:.4f} at most are surely right"
    return (Limit("evaluate.calibrate.precision", best, settings.precision, is_least=True, words=words),)
