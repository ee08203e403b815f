"""evaluate for arrays with labels: the figures of a classifier, beside logistic regression on the numbers.

Legend: N rows, V numbers of an array, K labels.
"""

import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from components.evaluate.classification.calibrate import calibrate
from components.evaluate.classification.judged import Judged, check_finite
from components.evaluate.classification.logistic import logistic_scores
from components.evaluate.classification.metrics import Scores
from components.evaluate.classification.report import Report, report_on
from components.evaluate.classification.split import read_splits
from components.evaluate.stage import Inputs, Outputs
from components.models.storage import load
from components.params import ArrayClassificationFigures
from components.plumbing.progress import progress
from components.tasks.array_classification.judging.torch_predictor import float_array_predictor
from components.tracking.tracker import Tracker
from serving.tasks.array_classification.predictor import SETTINGS, Predictor, load_settings

ARRAYS_A_CALL = 256  # the steps of the progress bar


def measure(params: ArrayClassificationFigures, inputs: Inputs, outputs: Outputs, *, tracker: Tracker) -> Report:
    """Judge the model on the test split; return the report.

    Raise InputError where a split holds fewer than two classes or too few rows to calibrate on, ArtifactError where a
    score is not finite, and QualityError where the gate fails or no threshold is as precise as wanted.
    """
    settings = load_settings(inputs.predictor / SETTINGS)
    train, test = read_splits(inputs, settings.labels)
    train_values, test_values = read_values(inputs.train), read_values(inputs.test)

    predictor = float_array_predictor(load(inputs.model), settings=settings)
    started = time.perf_counter()
    scores = predict(predictor, test_values)
    tracker.log_metrics({"rows_per_s": len(test_values) / (time.perf_counter() - started)}, step=0)
    calibrated = calibrate(
        scores, inputs.validation, lambda path: predict(predictor, read_values(path)), labels=settings.labels,
        params=params,
    )  # fmt: skip

    baseline = logistic_scores(
        predictor.scaled(test_values),
        train=predictor.scaled(train_values),
        train_labels=train.label_id,
        num_classes=len(settings.labels),
        settings=params.baseline,
    )
    judged = Judged(
        labels=settings.labels,
        row=test.row,
        texts=None,
        actual=test.label_id,
        scores=scores if calibrated is None else calibrated.after,
        baseline=baseline,
        baseline_name="logistic regression",
        calibrated=calibrated,
    )
    return report_on(judged, majority=train.most_frequent, params=params, outputs=outputs)


def read_values(path: Path) -> NDArray[np.float32]:
    """Read the arrays of a split as they came, not scaled, (N, V)."""
    column = pq.read_table(path, columns=["values"])["values"].combine_chunks()
    return column.flatten().to_numpy().reshape(len(column), -1)


def predict(predictor: Predictor, values: NDArray[np.float32]) -> Scores:
    """Return the scores of each array, (N, K); raise ArtifactError where one is not finite."""
    scores = np.zeros((len(values), len(predictor.labels)), np.float32)
    with progress("evaluate", total=len(values)) as bar:
        for start in range(0, len(values), ARRAYS_A_CALL):
            scores[start : start + ARRAYS_A_CALL] = predictor.predict(values[start : start + ARRAYS_A_CALL])
            bar.update(min(start + ARRAYS_A_CALL, len(values)))
    check_finite(scores)
    return scores
