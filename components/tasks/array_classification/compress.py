"""compress for classifiers of arrays: one graph, which takes numbers that are scaled already."""

from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from components.compress.classification import ClassifierTrial, read_fitted, read_float_scores, read_metric, read_split
from components.compress.export import export_graph
from components.compress.stage import Inputs
from components.models.storage import WEIGHTS, load
from components.tasks.array_classification.judging.torch_predictor import float_array_forward, float_array_predictor
from serving.tasks.array_classification.predictor import MODEL, ROUTE, SETTINGS, Predictor, load_settings


def make_trial(inputs: Inputs) -> ClassifierTrial:
    """Return the trial of a classifier of arrays; raise ArtifactError where evaluate judged other rows."""
    test = read_split(inputs.test, "values")
    model = load(inputs.model)
    settings = load_settings(inputs.predictor / SETTINGS)
    forward = float_array_forward(model)
    fitted = read_fitted(inputs.float_results, num_labels=len(settings.labels))
    calibration = None if fitted is None else fitted.calibration
    return ClassifierTrial(
        float_size_bytes=(inputs.model / WEIGHTS).stat().st_size,
        validation=read_split(inputs.validation, "values"),
        test_split=test,
        float_scores=read_float_scores(inputs.float_results, test),
        metric=read_metric(inputs.float_results),
        batched=float_array_predictor(model, settings=settings, calibration=calibration),
        make_float_runner=lambda threads: Predictor(
            settings=settings, forward=forward, batch_size=1, threads=threads, calibration=calibration
        ),
        load_folder=lambda folder, threads: Predictor.load(folder, threads=threads),
        export_graphs=lambda: {MODEL: export_classifier(model, num_values=settings.num_values)},
        fitted=fitted,
        route=ROUTE,
        request_of=lambda values: {"arrays": [shortest(values)]},
    )


def shortest(values: Any) -> list[float]:
    """Return the numbers with the fewest digits that are still the same in fp32."""
    return [float(str(value)) for value in np.asarray(values, np.float32)]


def export_classifier(model: nn.Module, *, num_values: int) -> onnx.ModelProto:
    """Export the classifier in fp32, for any batch size: values (B, V) → logits (B, L)."""
    dynamic = {"values": {0: torch.export.Dim.DYNAMIC}}
    return export_graph(model, {"values": torch.zeros((2, num_values))}, outputs=["logits"], dynamic=dynamic)
