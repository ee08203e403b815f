"""The calibration of a candidate, fitted to its own scores of the validation split as evaluate fits the float model's.

A student and a network in fewer bits are as right as the trained one and not as sure, so that neither its temperature
nor its threshold holds for them.

Shapes: N rows, L labels.
"""

from pathlib import Path

from components.compress.limit import Limit
from components.evaluate.classification.calibrate import fit
from components.evaluate.classification.metrics import Labels, Scores
from components.params import Calibrate
from components.plumbing.artifacts import write_json
from components.plumbing.errors import InputError
from serving.predictors.calibration import CALIBRATION


def calibrate(folder: Path, scores: Scores, actual: Labels, settings: Calibrate, *, level: float) -> tuple[Limit, ...]:
    """Fit a calibration to a candidate's own scores (N, L) of the validation split, whose labels are (N,), and write it
    into its folder.

    Return what speaks against the candidate: that no calibration fits, as where it makes no mistake, or that no
    threshold of it is as precise as wanted.
    """
    try:
        found, fault = fit(scores, actual, settings, level=level)
    except InputError as error:
        return (Limit("", float("nan"), 0.0, is_least=False, words=str(error)),)
    write_json(folder / CALIBRATION, found.as_data())
    if fault is None or settings.precision is None:
        return ()
    best = float(str(fault.report["best_precision"]))
    words = f"of its surest answers, {best:.4f} at most are surely right"
    return (Limit("evaluate.calibrate.precision", best, settings.precision, is_least=True, words=words),)
