"""compress for texts and their labels: one graph, accuracy, rows/s.

Torch is the reference of the speed gate called as the service calls: one row a call, one core a call, as many calls at
once. Torch on batches of like lengths is about twice as fast as that, and is measured and shown beside it.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from components.compress.classification import accuracy_of, golden_numbers, prediction_table, read_float_scores
from components.compress.export import export_graph
from components.compress.stage import Inputs
from components.compress.trial import FloatFigures, Golden, Tested
from components.models.encoder.network import EncoderClassifier
from components.models.float_predictor import float_forward, float_predictor
from components.models.storage import WEIGHTS, load
from serving.predictors.text_classification import (
    MODEL,
    ROUTE,
    SETTINGS,
    TOKENIZER,
    Predictor,
    Scores,
    load_settings,
    load_tokenizer,
)

MAX_ITEMS = 500  # seconds of work for torch, and enough for a ratio that is steady to a few percent


@dataclass(frozen=True)
class Split:
    row: NDArray[np.int64]
    texts: list[str]
    label_id: NDArray[np.int64]


def make_trial(inputs: Inputs) -> "TextTrial":
    """The trial of a classifier of texts. ArtifactError where evaluate judged other rows."""
    test = read_split(inputs.test)
    return TextTrial(
        folder=inputs.predictor,
        model=cast(EncoderClassifier, load(inputs.model)),
        float_size_bytes=(inputs.model / WEIGHTS).stat().st_size,
        validation=read_split(inputs.validation),
        test_split=test,
        float_scores=read_float_scores(inputs.float_results, test.row),
    )


def read_split(path: Path) -> Split:
    """The rows of a split of preprocess."""
    table = pq.read_table(path, columns=["row", "text", "label_id"])
    return Split(
        row=table["row"].to_numpy().astype(np.int64),
        texts=table["text"].to_pylist(),
        label_id=table["label_id"].to_numpy().astype(np.int64),
    )


@dataclass(frozen=True)
class TextTrial:
    folder: Path
    """preprocess's `predictor/`."""
    model: EncoderClassifier
    float_size_bytes: int
    validation: Split
    test_split: Split
    float_scores: Scores
    """Of the test split, (N, L)."""
    metric: str = "accuracy"
    unit: str = "rows"

    @property
    def num_validation(self) -> int:
        return len(self.validation.texts)

    @property
    def items(self) -> Sequence[Any]:
        return self.validation.texts[:MAX_ITEMS]

    @cached_property
    def parts(self) -> dict[str, Any]:
        """What the predictor takes beside a forward."""
        settings = load_settings(self.folder / SETTINGS)
        return {"settings": settings, "tokenizer": load_tokenizer(self.folder / TOKENIZER, settings)}

    def judge_float(self) -> FloatFigures:
        batched = float_predictor(self.model, **self.parts)
        started = time.perf_counter()
        quality = self.quality(batched)
        return FloatFigures(quality=quality, units_per_s=self.num_validation / (time.perf_counter() - started))

    def float_runner(self, *, threads: int) -> Predictor:
        return Predictor(**self.parts, forward=float_forward(self.model), batch_size=1, threads=threads)

    def export(self) -> Mapping[str, onnx.ModelProto]:
        return {MODEL: export_classifier(self.model)}

    def load(self, folder: Path, *, threads: int) -> Predictor:
        return Predictor.load(folder, threads=threads)

    def quality(self, runner: Predictor) -> float:
        return accuracy_of(runner.predict(self.validation.texts), self.validation.label_id)

    def drop(self, float_quality: float, quality: float) -> float:
        return float_quality - quality

    def work(self, runner: Predictor, items: Sequence[Any]) -> int:
        runner.predict(items)
        return len(items)

    def test(self, runner: Predictor) -> Tested:
        split, scores = self.test_split, runner.predict(self.test_split.texts)
        answers = runner.answers(scores)
        golden = [
            Golden(route=ROUTE, request={"texts": [split.texts[index]]}, answer=[answers[index]])
            for index in golden_numbers(len(split.texts))
        ]
        return Tested(
            num_test=len(split.texts),
            float_quality=accuracy_of(self.float_scores, split.label_id),
            quality=accuracy_of(scores, split.label_id),
            agreement=float((scores.argmax(axis=1) == self.float_scores.argmax(axis=1)).mean()),
            mean_difference=float(np.abs(scores - self.float_scores).mean()),
            tables={"predictions.parquet": prediction_table(split.row, split.label_id, scores)},
            golden=golden,
        )


def export_classifier(model: EncoderClassifier) -> onnx.ModelProto:
    """The classifier in fp32, for any batch size and length: input_ids, attention_mask (B, T) → logits (B, L)."""
    dynamic = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    inputs = {name: torch.ones((2, 4), dtype=torch.int64) for name in ("input_ids", "attention_mask")}
    encoder: Any = model.encoder
    chosen = encoder.config._attn_implementation
    encoder.set_attn_implementation("eager")  # plain products: what torch fuses comes out as twice the nodes
    try:
        return export_graph(model, inputs, outputs=["logits"], dynamic=dict.fromkeys(inputs, dynamic))
    finally:
        encoder.set_attn_implementation(chosen)
