"""evaluate: measure the fine-tuned model on the test split, beside an honest baseline.

Reads the splits, tokenizer and settings of preprocess, and the model of finetune, which it judges through
serving/predictors as the service will run it. Writes `predictions.parquet` (row, text, label_id, predicted_id,
scores), `classes.json` (the figures of each class), `mistakes.json` (the worst), `confusion.csv` and `calibration.csv`
(for DVC), and `plots/`. The quality gate asks for the recipe's bar, and for a gain over the baseline that is clear of
chance: the paired bootstrap (Efron & Tibshirani 1993, chapter 16; as in Koehn 2004 for translation) draws the same
rows for both.
"""

import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from components.artifacts import artifact, observations
from components.errors import ArtifactError, InputError, QualityError
from components.evaluate.baseline import most_frequent, tfidf_scores
from components.evaluate.bootstrap import intervals
from components.evaluate.judged import Found, Judged, rounded
from components.evaluate.metrics import (
    Figures,
    Labels,
    Scores,
    Weights,
    calibration_metrics,
    counting_metrics,
    ranking_metrics,
)
from components.evaluate.plots import draw_plots
from components.evaluate.tables import (
    write_calibration,
    write_classes,
    write_confusion,
    write_mistakes,
    write_predictions,
)
from components.models.encoder.network import load_classifier
from components.models.float_predictor import float_predictor
from components.params import Evaluate, QualityGate
from components.progress import progress
from components.tracking import Tracker
from serving.predictors.text_classification import Predictor, load_settings, load_tokenizer

TEXTS_A_CALL = 256  # the steps of the progress bar
COMPARED = ("accuracy", "f1_macro", "mcc")


@dataclass(frozen=True)
class Inputs:
    train: Path = artifact("preprocess/train.parquet")
    test: Path = artifact("preprocess/test.parquet")
    tokenizer: Path = artifact("preprocess/tokenizer.json")
    predictor: Path = artifact("preprocess/predictor.json")
    model: Path = artifact("finetune/model/")


@dataclass(frozen=True)
class Outputs:
    predictions: Path = artifact("predictions.parquet")
    classes: Path = artifact("classes.json")
    mistakes: Path = artifact("mistakes.json")
    plots: Path = artifact("plots/")
    confusion: Path = artifact("confusion.csv")
    calibration: Path = artifact("calibration.csv")
    observations: Path = observations()


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
    """TF-IDF and logistic regression, trained on the same rows."""
    baseline_accuracy_low: float
    baseline_accuracy_high: float
    baseline_f1_macro: float
    baseline_mcc: float
    majority_accuracy: float
    """Of the training split's most frequent class."""
    majority_f1_macro: float
    gate_metric: str
    gain: float
    """Of the model over TF-IDF on gate_metric, with its paired interval."""
    gain_low: float
    gain_high: float


@dataclass(frozen=True)
class Split:
    """The rows of one split that are judged."""

    row: NDArray[np.int64]
    texts: list[str]
    label_id: Labels


def run(params: Evaluate, inputs: Inputs, outputs: Outputs, *, tracker: Tracker) -> Report:
    settings = load_settings(inputs.predictor)
    train, test = read_split(inputs.train), read_split(inputs.test)
    for name, split in (("training", train), ("test", test)):
        check_classes(split, settings.labels, name=name)

    model = load_classifier(inputs.model, num_labels=len(settings.labels))
    tokenizer = load_tokenizer(inputs.tokenizer, settings)
    started = time.perf_counter()
    scores = predict(float_predictor(model, tokenizer=tokenizer, settings=settings), test.texts)
    tracker.log_metrics({"rows_per_s": len(test.texts) / (time.perf_counter() - started)}, step=0)

    baseline = tfidf_scores(
        test.texts,
        train=train.texts,
        train_labels=train.label_id,
        num_classes=len(settings.labels),
        settings=params.baseline,
    )
    judged = Judged(
        labels=settings.labels, row=test.row, texts=test.texts, actual=test.label_id, scores=scores, baseline=baseline
    )
    found = measure(judged, majority=most_frequent(train.label_id), params=params)
    report = summarise(judged, found, params)
    write_predictions(outputs.predictions, judged)
    write_classes(outputs.classes, judged, found)
    write_mistakes(outputs.mistakes, judged, limit=params.num_mistakes)
    write_confusion(outputs.confusion, judged)
    write_calibration(outputs.calibration, judged, num_bins=params.calibration_bins)
    draw_plots(outputs.plots, judged, found, params)
    tracker.log_file(outputs.plots, folder="plots")
    tracker.log_file(outputs.mistakes)
    judge(report, params.gate, outputs)
    return report


def read_split(path: Path) -> Split:
    """The rows of a split of preprocess."""
    table = pq.read_table(path, columns=["row", "text", "label_id"])
    return Split(
        row=table["row"].to_numpy().astype(np.int64),
        texts=table["text"].to_pylist(),
        label_id=table["label_id"].to_numpy().astype(np.int64),
    )


def check_classes(split: Split, labels: Sequence[str], *, name: str) -> None:
    """Raise InputError where a split does not hold two classes: nothing can then be learned, or told apart."""
    present = sorted(set(split.label_id.tolist()))
    if len(present) < 2:
        holds = f"only the label '{labels[present[0]]}' ({len(split.texts)} rows)" if present else "no rows"
        raise InputError(
            f"the {name} split holds {holds}; it needs two labels at least: give preprocess more rows, "
            "or change preprocess.split"
        )


def predict(predictor: Predictor, texts: Sequence[str]) -> Scores:
    """The scores of each text, (N, K), in steps of texts of like lengths. ArtifactError where one is not finite."""
    scores = np.zeros((len(texts), len(predictor.labels)), np.float32)
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    with progress("evaluate", total=len(texts)) as bar:
        for start in range(0, len(order), TEXTS_A_CALL):
            chosen = order[start : start + TEXTS_A_CALL]
            scores[chosen] = predictor.predict([texts[index] for index in chosen])
            bar.update(start + len(chosen))
    if not np.isfinite(scores).all():
        wrong = int((~np.isfinite(scores)).any(axis=1).sum())
        raise ArtifactError(
            f"the model's scores are not finite for {wrong} of {len(texts)} test rows; "
            "train it again with a lower finetune.optimizer.learning_rate"
        )
    return scores


def measure(judged: Judged, *, majority: int, params: Evaluate) -> Found:
    """Every figure with its interval, all from the same resamples."""
    actual, scores, num_classes = judged.actual, judged.scores, len(judged.labels)
    count = partial(counting_metrics, actual, num_classes=num_classes)
    model, tfidf = count(scores.argmax(axis=1)), count(judged.baseline.argmax(axis=1))
    constant = count(np.full_like(actual, majority))
    ranking = ranking_metrics(actual, scores)
    calibration = calibration_metrics(actual, scores, num_bins=params.calibration_bins)
    metric = params.gate.metric

    def statistic(weights: Weights) -> Figures:
        ours, theirs = model(weights), tfidf(weights)
        return {
            **ours,
            **ranking(weights),
            **calibration(weights),
            **{f"baseline_{name}": theirs[name] for name in COMPARED},
            **{f"majority_{name}": values for name, values in constant(weights).items() if name in COMPARED},
            "gain": ours[metric] - theirs[metric],
        }

    return intervals(statistic, num_rows=len(actual), bootstrap=params.bootstrap)


def summarise(judged: Judged, found: Found, params: Evaluate) -> Report:
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


def judge(report: Report, gate: QualityGate, outputs: Outputs) -> None:
    """The quality gate. Before it raises QualityError, it leaves the plots and tables where a person can read them."""
    value, low, high = (getattr(report, f"{gate.metric}{end}") for end in ("", "_low", "_high"))
    interval = f"{report.confidence:.0%} interval"
    faults: list[str] = []
    if value < gate.min:
        faults.append(
            f"{gate.metric} {value:.4f} ({interval} {low:.4f} to {high:.4f}) is below evaluate.gate.min {gate.min:g}"
        )
    if report.gain_low <= gate.min_gain:
        faults.append(
            f"the gain in {gate.metric} over TF-IDF is {report.gain:.4f} ({interval} {report.gain_low:.4f} to "
            f"{report.gain_high:.4f}), whose lower end is not above evaluate.gate.min_gain {gate.min_gain:g}"
        )
    if not faults:
        return
    shutil.copytree(outputs.plots, outputs.observations / outputs.plots.name)
    for path in (outputs.classes, outputs.mistakes):
        shutil.copy(path, outputs.observations)
    raise QualityError(
        f"{'; and '.join(faults)}. Train a better model, or move the limit; the plots and the worst mistakes are in "
        f"{outputs.observations}",
        report=asdict(report),
    )
