"""The compression trial that all classifiers share: quality, rows per second, predictions and golden requests.

The quality is the metric of evaluate's gate. A model that never finds a rare class any more may still have nearly all
of its accuracy.

The reference of the speed gate is torch, called as the service calls the model: one row per call, one core per call,
and as many calls at once. Torch on batches is faster than that; it is measured too and shown beside the reference.

Shapes: N rows, L labels.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from torch import nn

from components.compress.batching import settle_batches, spread
from components.compress.calibrating import calibrate
from components.compress.limit import Limit
from components.compress.measure import torch_threads
from components.compress.trial import MAX_GOLDEN, FloatFigures, Golden, Quality, Tested, quality_of
from components.evaluate.classification.metrics import calibration_metrics, counting_metrics
from components.evaluate.figures import GATE_METRIC
from components.export.static import Feeds
from components.params import Calibrate
from components.plumbing.artifacts import read_json
from components.plumbing.errors import ArtifactError
from serving.predictors.calibration import Calibration, Temperature, load_calibration

PREDICTIONS = "predictions.parquet"
MAX_ITEMS = 500  # seconds of work for torch, and enough for a ratio that is steady to a few percent

Scores = NDArray[np.float32]


class Runner(Protocol):
    """A predictor of `serving/predictors`."""

    @property
    def calibration(self) -> Calibration | None: ...
    def predict(self, rows: Any, /) -> Scores: ...
    def answers(self, scores: Scores, /) -> Sequence[Mapping[str, Any]]: ...


@dataclass(frozen=True)
class Split:
    row: NDArray[np.int64]
    rows: Sequence[Any]
    """The N inputs to classify: texts or arrays."""
    label_id: NDArray[np.int64]


@dataclass(frozen=True)
class Batched:
    """The float model in batches, on a number of torch's threads."""

    runner: Runner
    threads: int

    @property
    def calibration(self) -> Calibration | None:
        return self.runner.calibration

    def predict(self, rows: Any) -> Scores:
        with torch_threads(self.threads):
            return self.runner.predict(rows)

    def answers(self, scores: Scores) -> Sequence[Mapping[str, Any]]:
        return self.runner.answers(scores)


@dataclass(frozen=True)
class Fitted:
    """The calibration that evaluate fitted to the scores of the float model, and how it did."""

    calibration: Calibration
    settings: Calibrate
    confidence: float
    """The confidence level of the bound by which the threshold was chosen."""
    num_bins: int
    """The number of bins of the expected calibration error."""


@dataclass(frozen=True)
class ClassifierTrial:
    float_size_bytes: int
    validation: Split
    test_split: Split
    float_results: Path
    """The folder `results/` of evaluate, which is read when it is needed first."""
    batched: Runner
    """The float model, run in batches."""
    make_float_runner: Callable[[int], Runner]
    """A function that makes the float model's runner, which takes one row per call, for a number of threads."""
    load_folder: Callable[[Path, int], Runner]
    load_batched: Callable[[Path, int], Runner]
    """A function that loads a folder with the most rows of a call, whatever its `batching.json` says."""
    batch_size: int
    """The most rows of a call that are of use in this task."""
    export_graphs: Callable[[nn.Module | None], Mapping[str, onnx.ModelProto]]
    """A function that exports a student, or without one the float model."""
    route: str
    request_of: Callable[[Any], Any]
    """A function that makes the request body for one row."""
    feeds_of: Callable[[int], Sequence[Feeds]] | None = None
    """A function that makes the graph's inputs of at most so many rows of the training split."""
    fitted: Fitted | None = None
    """The calibration of the float model's scores; None where all scores are the models' own."""
    unit: str = "rows"

    @cached_property
    def float_scores(self) -> Scores:
        """The float model's scores on the test split, (N, L)."""
        return read_float_scores(self.float_results, self.test_split)

    @property
    def metric(self) -> str:
        """The metric of evaluate's gate: accuracy, f1_macro or mcc."""
        return read_metric(self.float_results)

    @property
    def num_validation(self) -> int:
        return len(self.validation.rows)

    @property
    def items(self) -> Sequence[Any]:
        return self.validation.rows[:MAX_ITEMS]

    def judge_float(self) -> FloatFigures:
        _ = self.float_scores  # of other rows? said before any work
        started = time.perf_counter()
        quality = self.quality(self.batched)
        return FloatFigures(quality=quality, units_per_s=self.num_validation / (time.perf_counter() - started))

    def float_runner(self, *, threads: int) -> Runner:
        return self.make_float_runner(threads)

    def batched_runner(self, *, threads: int) -> Runner:
        return Batched(self.batched, threads)

    def export(self, model: nn.Module | None = None) -> Mapping[str, onnx.ModelProto]:
        return self.export_graphs(model)

    def settle_batches(self, folder: Path) -> int:
        return settle_batches(folder, self.validation.rows, load=self.load_batched, most=self.batch_size)

    def calibrate(self, folder: Path, *, threads: int) -> tuple[Limit, ...]:
        if self.fitted is None:
            return ()
        split, scores = self.validation, self.load(folder, threads=threads).predict(self.validation.rows)
        return calibrate(
            folder, scores, split.label_id, self.fitted.settings, level=self.fitted.confidence,
            of_float=self.fitted.calibration,
        )  # fmt: skip

    def feeds(self, num_rows: int) -> Sequence[Feeds] | None:
        return None if self.feeds_of is None else self.feeds_of(num_rows)

    def load(self, folder: Path, *, threads: int) -> Runner:
        return self.load_folder(folder, threads)

    def quality(self, runner: Runner) -> Quality:
        return quality_of_scores(runner.predict(self.validation.rows), self.validation, self.metric)

    def work(self, runner: Runner, items: Sequence[Any]) -> int:
        runner.predict(items)
        return len(items)

    def test(self, runner: Runner) -> Tested:
        split, scores = self.test_split, runner.predict(self.test_split.rows)
        answers = runner.answers(scores)
        golden = [
            Golden(route=self.route, request=self.request_of(split.rows[index]), answer=[answers[index]])
            for index in golden_numbers(len(split.rows))
        ]
        return Tested(
            num_test=len(split.rows),
            judged=f"the {len(split.rows):,} rows of the test split",
            float_quality=quality_of_scores(self.float_scores, split, self.metric),
            quality=quality_of_scores(scores, split, self.metric),
            agreement=float((scores.argmax(axis=1) == self.float_scores.argmax(axis=1)).mean()),
            mean_difference=float(np.abs(scores - self.float_scores).mean()),
            tables={PREDICTIONS: prediction_table(split, scores)},
            golden=golden,
            calibration=calibration_figures(scores, split, self.fitted, runner.calibration),
        )


def read_some(path: Path, column: str, number: int) -> list[Any]:
    """Return at most `number` of a split's inputs to classify, evenly spread; `column` names the column of them."""
    table = pq.read_table(path, columns=[column])
    return spread(list(table[column].to_numpy(zero_copy_only=False)), number)


def read_split(path: Path, column: str) -> Split:
    """Read a split that preprocess wrote; `column` names the column of inputs to classify."""
    table = pq.read_table(path, columns=["row", column, "label_id"])
    given = table[column]
    return Split(
        row=table["row"].to_numpy().astype(np.int64),
        rows=list(given.to_numpy()) if pa.types.is_list(given.type) else given.to_pylist(),
        label_id=table["label_id"].to_numpy().astype(np.int64),
    )


def read_float_scores(results: Path, split: Split) -> Scores:
    """Read the float model's scores on the test split, (N, L), from evaluate's results. Raise ArtifactError where they
    belong to other rows."""
    path = results / PREDICTIONS
    table = pq.read_table(path, columns=["row", "scores"])
    if not np.array_equal(table["row"].to_numpy(), split.row):
        raise ArtifactError(f"{path} is not of the rows of the test split; run evaluate again: 'dvc repro'")
    return np.array(table["scores"].to_pylist(), np.float32)


def read_metric(results: Path) -> str:
    """Read the metric of the quality gate from evaluate's results."""
    return str(read_json(results / GATE_METRIC)["metric"])


def read_fitted(results: Path, *, num_labels: int) -> Fitted | None:
    """Read the calibration among evaluate's results; None where there is none."""
    calibration = load_calibration(results, num_labels=num_labels)
    if calibration is None:
        return None
    asked: dict[str, Any] = read_json(results / GATE_METRIC)
    return Fitted(calibration, Calibrate(**asked["calibrate"]), asked["confidence"], asked["calibration_bins"])


def calibration_figures(
    scores: Scores, split: Split, fitted: Fitted | None, own: Calibration | None
) -> dict[str, float]:
    """Return the expected calibration error of scores (N, L) that a model's `own` calibration made, with what that is;
    and where there is a threshold, the share of rows that reach it and the share of those that are right. Nothing where
    scores are not calibrated."""
    if fitted is None or own is None:
        return {}
    once = np.ones((len(scores), 1), np.float32)
    errors = calibration_metrics(split.label_id, scores, num_bins=fitted.num_bins)(once)
    found = {"ece": float(errors["ece"][0])}
    if isinstance(own.way, Temperature):
        found["temperature"] = own.way.value
    if own.threshold is not None:
        found["threshold"] = own.threshold
        answered = own.is_sure(scores)
        hit = scores.argmax(axis=1) == split.label_id
        found["coverage"] = float(answered.mean())
        if answered.any():
            found["answered_precision"] = float(hit[answered].mean())
    return found


def quality_of_scores(scores: Scores, split: Split, metric: str) -> Quality:
    """Return accuracy, f1_macro or mcc of scores (N, L), as evaluate computes it."""
    figures = counting_metrics(split.label_id, scores.argmax(axis=1), num_classes=scores.shape[1])
    return quality_of(figures, metric, num_rows=len(scores))


def prediction_table(split: Split, scores: Scores) -> pa.Table:
    """Return a table in the row order of the split, with the columns row, label_id, predicted_id and scores (a list of
    float32 in the order of the labels)."""
    num_rows, num_labels = scores.shape
    offsets = pa.array(np.arange(num_rows + 1, dtype=np.int32) * num_labels)
    columns = {
        "row": pa.array(split.row, pa.int64()),
        "label_id": pa.array(split.label_id, pa.int64()),
        "predicted_id": pa.array(scores.argmax(axis=1), pa.int64()),
        "scores": pa.ListArray.from_arrays(offsets, pa.array(scores.ravel(), pa.float32())),
    }
    return pa.table(columns)


def golden_numbers(num_rows: int) -> list[int]:
    """Return the numbers of the rows that become golden requests: at most MAX_GOLDEN, spread evenly."""
    chosen = np.linspace(0, num_rows - 1, min(MAX_GOLDEN, num_rows)).round().astype(np.int64)
    return np.unique(chosen).tolist()
