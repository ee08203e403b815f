"""compress for classifiers of texts: one graph, which takes token ids and their attention mask."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import onnx
import torch
from torch import nn

from components.compress.classification import ClassifierTrial, read_fitted, read_float_scores, read_metric, read_split
from components.compress.export import export_graph
from components.compress.stage import Inputs
from components.models.storage import WEIGHTS, load
from components.tasks.text_classification.judging.torch_predictor import float_forward, float_predictor
from serving.tasks.text_classification.predictor import (
    MODEL,
    ROUTE,
    SETTINGS,
    TOKENIZER,
    Predictor,
    load_settings,
    load_tokenizer,
)


def make_trial(inputs: Inputs) -> ClassifierTrial:
    """Return the trial of a classifier of texts; raise ArtifactError where evaluate judged other rows."""
    test = read_split(inputs.test, "text")
    model = load(inputs.model)
    settings = load_settings(inputs.predictor / SETTINGS)
    tokenizer = load_tokenizer(inputs.predictor / TOKENIZER, settings)
    forward = float_forward(model)
    fitted = read_fitted(inputs.float_results, num_labels=len(settings.labels))
    calibration = None if fitted is None else fitted.calibration
    return ClassifierTrial(
        float_size_bytes=(inputs.model / WEIGHTS).stat().st_size,
        validation=read_split(inputs.validation, "text"),
        test_split=test,
        float_scores=read_float_scores(inputs.float_results, test),
        metric=read_metric(inputs.float_results),
        batched=float_predictor(model, tokenizer=tokenizer, settings=settings, calibration=calibration),
        make_float_runner=lambda threads: Predictor(
            tokenizer=tokenizer,
            settings=settings,
            forward=forward,
            batch_size=1,
            threads=threads,
            calibration=calibration,
        ),
        load_folder=lambda folder, threads: Predictor.load(folder, threads=threads),
        export_graphs=lambda: {MODEL: export_classifier(model)},
        fitted=fitted,
        route=ROUTE,
        request_of=lambda text: {"texts": [text]},
    )


def export_classifier(model: nn.Module) -> onnx.ModelProto:
    """Export the classifier in fp32, for any batch and length: input_ids, attention_mask (B, T) → logits (B, L)."""
    dynamic = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    inputs = {name: torch.ones((2, 4), dtype=torch.int64) for name in ("input_ids", "attention_mask")}
    with plain_attention(model):
        return export_graph(model, inputs, outputs=["logits"], dynamic=dict.fromkeys(inputs, dynamic))


@contextmanager
def plain_attention(model: nn.Module) -> Generator[None]:
    """Let an encoder of transformers compute attention by plain products for the time of the block.

    Fused attention of torch is exported as twice as many nodes. A model of another family stays as it is.
    """
    hosted: Any = getattr(model, "hosted", None)
    if not hasattr(hosted, "set_attn_implementation"):
        yield
        return
    chosen = hosted.config._attn_implementation
    hosted.set_attn_implementation("eager")
    try:
        yield
    finally:
        hosted.set_attn_implementation(chosen)
