"""The report on a classifier on the test split: figures with intervals, tables, plots, the page and the quality gate.

The gate asks for the recipe's bar, and for a gain over the baseline that is clear of chance: the paired bootstrap
(Efron & Tibshirani 1993, chapter 16; as in Koehn 2004 for translation) draws the same rows for both.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import numpy as np

from components.evaluate.bootstrap import intervals
from components.evaluate.classification.calibrated import calibrated_metrics
from components.evaluate.classification.calibration_figures import (
    OF_CALIBRATION,
    CalibrationFigures,
    calibration_settings,
)
from components.evaluate.classification.calibration_page import part as calibration_part
from components.evaluate.classification.drawings import drawings_of
from components.evaluate.classification.judged import Found, Judged
from components.evaluate.classification.metrics import (
    Figures,
    Weights,
    calibration_metrics,
    counting_metrics,
    ranking_metrics,
)
from components.evaluate.classification.page import headline_of, parts_of
from components.evaluate.classification.slices import Slices, slice_figures, worst
from components.evaluate.classification.tables import (
    write_calibration,
    write_classes,
    write_confusion,
    write_mistakes,
    write_predictions,
)
from components.evaluate.figures import GATE_METRIC, rounded, shortened
from components.evaluate.page import write_page
from components.evaluate.stage import Outputs
from components.params import ArrayClassificationFigures, QualityGate, TextClassificationFigures
from components.plumbing.artifacts import PAGE, figures_of, write_json
from components.plumbing.errors import QualityError
from components.plumbing.pages import Part
from components.plumbing.plots import save_drawings
from serving.predictors.calibration import CALIBRATION

COMPARED = ("accuracy", "f1_macro", "mcc")

ENDS = ("", "_low", "_high")

ClassificationFigures = TextClassificationFigures | ArrayClassificationFigures


@dataclass(frozen=True)
class Report(CalibrationFigures):
    """The figures of the test split; `_low` and `_high` are the ends of a bootstrap percentile interval.

    Every figure is defined, since the split holds at least two classes: a macro mean is over the classes that occur.
    The micro means of precision, recall and F1 all equal the accuracy. Resampling adds noise of its own to the
    calibration error, so the interval of `ece` lies high.
    """

    num_test: int
    num_classes: int
    """The number of classes that the model knows; the split may lack some."""
    num_mistakes: int
    confidence: float
    """The confidence level of every interval."""
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    precision_macro: float
    precision_macro_low: float
    precision_macro_high: float
    recall_macro: float
    recall_macro_low: float
    recall_macro_high: float
    f1_macro: float
    f1_macro_low: float
    f1_macro_high: float
    f1_micro: float
    roc_auc: float
    """The area under the ROC curve: of the second of two classes, or the mean of each class against the rest where
    there are more. The average precision, `pr_auc`, is taken in that way too."""
    roc_auc_low: float
    roc_auc_high: float
    pr_auc: float
    pr_auc_low: float
    pr_auc_high: float
    mcc: float
    mcc_low: float
    mcc_high: float
    ece: float
    ece_low: float
    ece_high: float
    baseline: str
    """The name of the baseline."""
    baseline_accuracy: float
    """The accuracy of the recipe's baseline, trained on the same rows."""
    baseline_accuracy_low: float
    baseline_accuracy_high: float
    baseline_f1_macro: float
    baseline_mcc: float
    majority_accuracy: float
    """The accuracy of always predicting the training split's most frequent class."""
    majority_f1_macro: float
    gate_metric: str
    gain: float
    """The gain of the model over the baseline on `gate_metric`, with its paired interval."""
    gain_low: float
    gain_high: float

    def headline(self) -> dict[str, float]:
        """Return the figures to compare between runs: the accuracy, the gate's metric, and the gain over the
        baseline."""
        figures = {"accuracy": self.accuracy, self.gate_metric: getattr(self, self.gate_metric), "gain": self.gain}
        return {name: shortened(value) for name, value in figures.items()}


@dataclass(frozen=True)
class ReportWithControl(Report):
    """The report of a model that has a control, which was trained on the labels alone, without pretraining."""

    control_accuracy: float
    control_accuracy_low: float
    control_accuracy_high: float
    pretraining_gain: float
    """The gain in accuracy of the model over the control, with its paired interval."""
    pretraining_gain_low: float
    pretraining_gain_high: float


@dataclass(frozen=True)
class ReportWithSlices(Report):
    """The report of a model with slices, whose figures are in slices.json."""

    num_slices: int
    worst_slice: str
    worst_slice_accuracy: float


@dataclass(frozen=True)
class ReportWithBoth(ReportWithControl, ReportWithSlices):
    """The report of a model with a control and slices."""


def report_on(
    judged: Judged, *, majority: int, params: ClassificationFigures, outputs: Outputs, title: str,
    parts: Sequence[Part] = (), more_faults: Sequence[str] = (),
) -> Report:  # fmt: skip
    """Measure, write the tables, the plots and the page, and judge.

    `title` heads the page; `parts` are those that only this task has, and `more_faults` what else speaks against the
    model. Raise QualityError where it does not pass the quality gate.
    """
    found = classification_figures(judged, majority=majority, params=params)
    slices = slice_figures(judged, params.bootstrap) if judged.slices is not None else {}
    report = summarise(judged, found, slices, params)
    write_predictions(outputs.results / "predictions.parquet", judged)
    write_classes(outputs.results / "classes.json", judged, found)
    write_mistakes(outputs.results / "mistakes.json", judged, limit=params.num_mistakes)
    write_json(outputs.results / GATE_METRIC, asked_of_scores(params))
    if judged.calibrated is not None:
        write_json(outputs.results / CALIBRATION, judged.calibrated.calibration.as_data())
        parts = [calibration_part(figures_of(report)), *parts]
    write_confusion(outputs.plots / "confusion.csv", judged)
    write_calibration(outputs.plots / "calibration.csv", judged, num_bins=params.calibration_bins)
    if slices:
        write_json(outputs.results / "slices.json", slices)
    drawings = drawings_of(judged, found, slices, params)
    save_drawings(outputs.plots, drawings)
    faults = [*faults_of(report, params.gate, judged.baseline_name), *more_faults]
    write_page(
        outputs.results / PAGE,
        title=title,
        headline=headline_of(judged, found, params),
        faults=faults,
        parts=parts_of(judged, found, slices, drawings, parts, title=title, params=params),
    )
    if faults:
        raise QualityError(
            f"{'; and '.join(faults)}. Train a better model, or move the limit; the page, the plots and the worst "
            f"mistakes are in {outputs.observations}",
            report=figures_of(report),
        )
    return report


def asked_of_scores(params: ClassificationFigures) -> dict[str, Any]:
    """Return by what the scores of this model are judged and calibrated, by which compress does it, too."""
    return {
        "metric": params.gate.metric,
        "calibration_bins": params.calibration_bins,
        "calibrate": None if params.calibrate is None else params.calibrate.model_dump(mode="json"),
        "confidence": params.bootstrap.confidence,
    }


def classification_figures(judged: Judged, *, majority: int, params: ClassificationFigures) -> Found:
    """Return every figure with its interval, all from the same resamples."""
    actual, scores, num_classes = judged.actual, judged.scores, len(judged.labels)
    count = partial(counting_metrics, actual, num_classes=num_classes)
    model, baseline = count(scores.argmax(axis=1)), count(judged.baseline.argmax(axis=1))
    constant = count(np.full_like(actual, majority))
    control = None if judged.control is None else count(judged.control.argmax(axis=1))
    ranking = ranking_metrics(actual, scores)
    calibration = calibration_metrics(actual, scores, num_bins=params.calibration_bins)
    num_bins, calibrated = params.calibration_bins, judged.calibrated
    fitted = None if calibrated is None else calibrated_metrics(actual, calibrated, num_bins=num_bins)
    metric = params.gate.metric

    def statistic(weights: Weights) -> Figures:
        ours, theirs = model(weights), baseline(weights)
        without = {} if control is None else {"control_accuracy": control(weights)["accuracy"]}
        if without:
            without["pretraining_gain"] = ours["accuracy"] - without["control_accuracy"]
        return {
            **ours,
            **ranking(weights),
            **calibration(weights),
            **({} if fitted is None else fitted(weights)),
            **{f"baseline_{name}": theirs[name] for name in COMPARED},
            **{f"majority_{name}": values for name, values in constant(weights).items() if name in COMPARED},
            "gain": ours[metric] - theirs[metric],
            **without,
        }

    return intervals(statistic, num_rows=len(actual), bootstrap=params.bootstrap)


def summarise(judged: Judged, found: Found, slices: Slices, params: ClassificationFigures) -> Report:
    """Build the report from the figures, rounded."""
    figures: dict[str, float] = {}
    for name, triple in found.items():
        if triple.ndim == 1:
            figures |= {f"{name}{end}": rounded(value) for end, value in zip(ENDS, triple, strict=True)}
    of_slices: dict[str, Any] = {}
    if slices:
        name = worst(slices)
        of_slices = {
            "num_slices": len(slices), "worst_slice": name, "worst_slice_accuracy": slices[name]["accuracy"]
        }  # fmt: skip
    kind = REPORTS[judged.control is not None, bool(slices)]
    known = {field.name for field in fields(kind)}
    unknown = {name for name in OF_CALIBRATION if math.isnan(figures.get(name, 0.0))}
    chosen: dict[str, Any] = {name: value for name, value in figures.items() if name in known - unknown}
    return kind(
        num_test=len(judged.actual),
        num_classes=len(judged.labels),
        num_mistakes=int((judged.predicted != judged.actual).sum()),
        confidence=params.bootstrap.confidence,
        f1_micro=figures["accuracy"],
        gate_metric=params.gate.metric,
        baseline=judged.baseline_name,
        **chosen,
        **of_slices,
        **calibration_settings(judged),
    )


REPORTS: dict[tuple[bool, bool], type[Report]] = {
    (False, False): Report,
    (True, False): ReportWithControl,
    (False, True): ReportWithSlices,
    (True, True): ReportWithBoth,
}
"""The report class, by whether there is a control and whether there are slices."""


def faults_of(report: Report, gate: QualityGate, baseline: str) -> list[str]:
    """Apply the quality gate: say where the metric is below its bar, and where the lower end of the gain's interval is
    not above `min_gain`."""
    value, low, high = (getattr(report, f"{gate.metric}{end}") for end in ENDS)
    interval = f"{report.confidence:.0%} interval"
    faults: list[str] = []
    if value < gate.min:
        faults.append(
            f"{gate.metric} {value:.4f} ({interval} {low:.4f} to {high:.4f}) is below evaluate.gate.min {gate.min:g}"
        )
    if report.gain_low <= gate.min_gain:
        faults.append(
            f"the gain in {gate.metric} over {baseline} is {report.gain:.4f} ({interval} {report.gain_low:.4f} to "
            f"{report.gain_high:.4f}), whose lower end is not above evaluate.gate.min_gain {gate.min_gain:g}"
        )
    return faults
