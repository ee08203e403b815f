"""The figures of a classifier on the test split, with intervals, its tables and pictures, and the quality gate.

The gate asks for the recipe's bar, and for a gain over the baseline that is clear of chance: the paired bootstrap
(Efron & Tibshirani 1993, chapter 16; as in Koehn 2004 for translation) draws the same rows for both.
"""

from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import Any

import numpy as np

from components.errors import QualityError
from components.evaluate.bootstrap import intervals
from components.evaluate.classification.judged import Found, Judged, rounded
from components.evaluate.classification.metrics import (
    Figures,
    Weights,
    calibration_metrics,
    counting_metrics,
    ranking_metrics,
)
from components.evaluate.classification.plots import draw_plots
from components.evaluate.classification.tables import (
    write_calibration,
    write_classes,
    write_confusion,
    write_mistakes,
    write_predictions,
)
from components.evaluate.stage import Outputs
from components.params import ArrayClassificationFigures, QualityGate, TextClassificationFigures

COMPARED = ("accuracy", "f1_macro", "mcc")

ClassificationFigures = TextClassificationFigures | ArrayClassificationFigures


@dataclass(frozen=True)
class Report:
    """Figures of the test split; `_low` and `_high` are the ends of a bootstrap percentile interval.

    Every figure is defined, since the split holds two classes at least: a macro mean is over the classes that occur.
    The micro means of precision, recall and F1 all equal the accuracy. Resampling adds noise of its own to the
    calibration error, so the interval of `ece` lies high.
    """

    num_test: int
    num_classes: int
    """That the model knows; the split may lack some."""
    num_mistakes: int
    confidence: float
    """Of every interval."""
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
    """Of two classes, the second's; of more, the mean of each against the rest. So is pr_auc (average precision)."""
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
    baseline_accuracy: float
    """The recipe's baseline, trained on the same rows."""
    baseline_accuracy_low: float
    baseline_accuracy_high: float
    baseline_f1_macro: float
    baseline_mcc: float
    majority_accuracy: float
    """Of the training split's most frequent class."""
    majority_f1_macro: float
    gate_metric: str
    gain: float
    """Of the model over the baseline on gate_metric, with its paired interval."""
    gain_low: float
    gain_high: float


def report_on(judged: Judged, *, majority: int, params: ClassificationFigures, outputs: Outputs) -> Report:
    """Measure, write the tables and pictures, and judge. QualityError where the gate's bar is not reached."""
    found = measure(judged, majority=majority, params=params)
    report = summarise(judged, found, params)
    write_predictions(outputs.results / "predictions.parquet", judged)
    write_classes(outputs.results / "classes.json", judged, found)
    write_mistakes(outputs.results / "mistakes.json", judged, limit=params.num_mistakes)
    write_confusion(outputs.plots / "confusion.csv", judged)
    write_calibration(outputs.plots / "calibration.csv", judged, num_bins=params.calibration_bins)
    draw_plots(outputs.plots, judged, found, params)
    judge(report, params.gate, outputs, judged.baseline_name)
    return report


def measure(judged: Judged, *, majority: int, params: ClassificationFigures) -> Found:
    """Every figure with its interval, all from the same resamples."""
    actual, scores, num_classes = judged.actual, judged.scores, len(judged.labels)
    count = partial(counting_metrics, actual, num_classes=num_classes)
    model, baseline = count(scores.argmax(axis=1)), count(judged.baseline.argmax(axis=1))
    constant = count(np.full_like(actual, majority))
    ranking = ranking_metrics(actual, scores)
    calibration = calibration_metrics(actual, scores, num_bins=params.calibration_bins)
    metric = params.gate.metric

    def statistic(weights: Weights) -> Figures:
        ours, theirs = model(weights), baseline(weights)
        return {
            **ours,
            **ranking(weights),
            **calibration(weights),
            **{f"baseline_{name}": theirs[name] for name in COMPARED},
            **{f"majority_{name}": values for name, values in constant(weights).items() if name in COMPARED},
            "gain": ours[metric] - theirs[metric],
        }

    return intervals(statistic, num_rows=len(actual), bootstrap=params.bootstrap)


def summarise(judged: Judged, found: Found, params: ClassificationFigures) -> Report:
    """The report of the figures, rounded."""
    figures: dict[str, float] = {}
    for name, triple in found.items():
        if triple.ndim == 1:
            figures |= {
                f"{name}{end}": rounded(value) for end, value in zip(("", "_low", "_high"), triple, strict=True)
            }
    known = {field.name for field in fields(Report)}
    chosen: dict[str, Any] = {name: value for name, value in figures.items() if name in known}
    return Report(
        num_test=len(judged.actual),
        num_classes=len(judged.labels),
        num_mistakes=int((judged.predicted != judged.actual).sum()),
        confidence=params.bootstrap.confidence,
        f1_micro=figures["accuracy"],
        gate_metric=params.gate.metric,
        **chosen,
    )


def judge(report: Report, gate: QualityGate, outputs: Outputs, baseline: str) -> None:
    """The quality gate."""
    value, low, high = (getattr(report, f"{gate.metric}{end}") for end in ("", "_low", "_high"))
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
    if not faults:
        return
    raise QualityError(
        f"{'; and '.join(faults)}. Train a better model, or move the limit; the plots and the worst mistakes are in "
        f"{outputs.observations}",
        report=asdict(report),
    )
