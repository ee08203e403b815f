"""compress for classifiers of arrays: one graph, which takes numbers as the source has them."""

from typing import Any

import numpy as np

from components.compress.classification import ClassifierTrial, read_fitted, read_some, read_split
from components.compress.paths import Inputs
from components.models.storage import WEIGHTS, load
from components.tasks.array_classification.judging.export import export_classifier
from components.tasks.array_classification.judging.torch_predictor import float_array_forward, float_array_predictor
from serving.tasks.array_classification.predictor import (
    BATCH_SIZE,
    INPUT,
    MODEL,
    ROUTE,
    SETTINGS,
    Predictor,
    load_settings,
)


def make_trial(inputs: Inputs) -> ClassifierTrial:
    """Return the trial of a classifier of arrays."""
    model = load(inputs.model)
    settings = load_settings(inputs.predictor / SETTINGS)
    forward = float_array_forward(model, settings)
    fitted = read_fitted(inputs.float_results, num_labels=len(settings.labels))
    calibration = None if fitted is None else fitted.calibration
    return ClassifierTrial(
        float_size_bytes=(inputs.model / WEIGHTS).stat().st_size,
        validation=read_split(inputs.validation, "values"),
        test_split=read_split(inputs.test, "values"),
        float_results=inputs.float_results,
        batched=float_array_predictor(model, settings=settings, calibration=calibration),
        make_float_runner=lambda threads: Predictor(
            settings=settings, forward=forward, batch_size=1, threads=threads, calibration=calibration
        ),
        load_folder=lambda folder, threads: Predictor.load(folder, threads=threads),
        load_batched=lambda folder, most: Predictor.load(folder, threads=1, batch_size=most),
        batch_size=BATCH_SIZE,
        export_graphs=lambda student: {MODEL: export_classifier(student or model, settings)},
        feeds_of=lambda number: [{INPUT: settings.values_of(read_some(inputs.train, "values", number))}],
        fitted=fitted,
        route=ROUTE,
        request_of=lambda values: {"arrays": [shortest(values)]},
    )


def shortest(values: Any) -> list[float]:
    """Return the numbers with the fewest digits that are still the same in fp32."""
    return [float(str(value)) for value in np.asarray(values, np.float32)]
