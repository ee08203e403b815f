"""evaluate for arrays with labels: the figures of a classifier, beside logistic regression on the numbers.

Legend: N rows, V numbers of an array, K labels.
"""

import time

import numpy as np
from numpy.typing import NDArray

from components.evaluate.classification.calibrated import calibrate
from components.evaluate.classification.judged import Judged, check_finite
from components.evaluate.classification.logistic import logistic_scores
from components.evaluate.classification.metrics import Scores
from components.evaluate.classification.report import Report, report_on
from components.evaluate.classification.split import read_splits
from components.evaluate.explanations.page import part as explanations_part
from components.evaluate.explanations.writing import write_explanations
from components.evaluate.stage import Inputs, Outputs
from components.models.storage import load
from components.params import ArrayClassificationFigures
from components.plumbing.pages import Part
from components.plumbing.progress import progress
from components.tasks.array_classification.evaluate.finding import find
from components.tasks.array_classification.evaluate.values import read_values
from components.tasks.array_classification.judging.torch_predictor import float_array_predictor
from components.tracking.tracker import Tracker
from serving.predictors.pictures import grey_levels
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
    calibrated, unreached = calibrate(
        scores, inputs.validation, lambda path: predict(predictor, read_values(path)), labels=settings.labels,
        params=params,
    )  # fmt: skip
    faults = [unreached] if unreached else []

    baseline = logistic_scores(
        settings.scaled(test_values),
        train=settings.scaled(train_values),
        train_labels=train.label_id,
        num_classes=len(settings.labels),
        settings=params.baseline,
    )
    parts: list[Part] = []
    if params.explain is not None:
        from components.tasks.array_classification.evaluate.explaining import commonest, explain  # which export models

        found = explain(
            params.explain, inputs, about=settings, values=test_values, rows=test.row.tolist(),
            actual=test.label_id.tolist(), cover=commonest(train_values), bootstrap=params.bootstrap,
        )  # fmt: skip
        write_explanations(found, outputs)
        parts.append(explanations_part(found))
    judged = Judged(
        labels=settings.labels,
        row=test.row,
        texts=None,
        actual=test.label_id,
        scores=scores if calibrated is None else calibrated.after,
        baseline=baseline,
        baseline_name="logistic regression",
        baseline_note=f"It was trained on the scaled numbers of {len(train.row):,} rows (C {params.baseline.C:g}).",
        images=images_of(test_values, settings.shape),
        calibrated=calibrated,
    )
    parts += find(judged, params, inputs, outputs, predictor=predictor)
    return report_on(
        judged,
        majority=train.most_frequent,
        params=params,
        outputs=outputs,
        title=inputs.recipe,
        parts=parts,
        more_faults=faults,
    )


def images_of(values: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
    """Return arrays (N, V) in grey levels, the lowest number black and the highest white; None where they are no
    images."""
    if len(shape) != 2:
        return None
    low, high = float(values.min()), float(values.max())
    return grey_levels(2 * (values - low) / max(high - low, 1e-12) - 1, shape=shape)


def predict(predictor: Predictor, values: NDArray[np.float32]) -> Scores:
    """Return the scores of each array, (N, K); raise ArtifactError where one is not finite."""
    scores = np.zeros((len(values), len(predictor.labels)), np.float32)
    with progress("evaluate", total=len(values)) as bar:
        for start in range(0, len(values), ARRAYS_A_CALL):
            scores[start : start + ARRAYS_A_CALL] = predictor.predict(values[start : start + ARRAYS_A_CALL])
            bar.update(min(start + ARRAYS_A_CALL, len(values)))
    check_finite(scores)
    return scores
