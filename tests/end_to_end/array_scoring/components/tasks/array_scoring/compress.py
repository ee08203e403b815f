"""compress for arrays that are scored: one graph, of numbers that are scaled already, judged by the Brier score.

Torch is the reference of the speed gate called as the service calls: one row a call, one core a call.

Legend: N rows, V numbers of an array.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from components.compress.classification import MAX_ITEMS, Split, golden_numbers, read_split
from components.compress.paths import Inputs
from components.compress.trial import FloatFigures, Golden, Quality, Tested
from components.export import export_graph
from components.models.storage import WEIGHTS, load
from components.tasks.array_scoring.judging.brier import Probabilities, squared_errors
from components.tasks.array_scoring.judging.tables import SCORES, read_scores, score_table
from components.tasks.array_scoring.judging.torch_scorer import float_scorer
from serving.tasks.array_scoring.predictor import MODEL, ROUTE, SETTINGS, PredictorSettings, Scorer, load_settings


def make_trial(inputs: Inputs) -> "ScoringTrial":
    """The trial of a model that scores arrays."""
    return ScoringTrial(
        float_size_bytes=(inputs.model / WEIGHTS).stat().st_size,
        model=load(inputs.model),
        settings=load_settings(inputs.predictor / SETTINGS),
        validation=read_split(inputs.validation, "values"),
        test_split=read_split(inputs.test, "values"),
        float_results=inputs.float_results,
    )


@dataclass(frozen=True)
class ScoringTrial:
    float_size_bytes: int
    model: nn.Module
    settings: PredictorSettings
    validation: Split
    test_split: Split
    float_results: Path
    metric: str = "brier"
    unit: str = "rows"

    @cached_property
    def judged(self) -> Probabilities:
        """What evaluate found of the test split, (N,)."""
        return read_scores(self.float_results, self.test_split.row)

    @property
    def num_validation(self) -> int:
        return len(self.validation.rows)

    @property
    def items(self) -> Sequence[Any]:
        return self.validation.rows[:MAX_ITEMS]

    def judge_float(self) -> FloatFigures:
        _ = self.judged  # of other rows? said before any work
        scorer = float_scorer(self.model, settings=self.settings)
        started = time.perf_counter()
        quality = self.quality(scorer)
        return FloatFigures(quality=quality, units_per_s=self.num_validation / (time.perf_counter() - started))

    def float_runner(self, *, threads: int) -> Scorer:
        return float_scorer(self.model, settings=self.settings, batch_size=1, threads=threads)

    def batched_runner(self, *, threads: int) -> None:
        return None

    def export(self, model: nn.Module | None = None) -> Mapping[str, onnx.ModelProto]:
        """In fp32, for any batch size: values (N, V) → logits (N, 2)."""
        values = {"values": torch.zeros((2, self.settings.num_values))}
        dynamic = {"values": {0: torch.export.Dim.DYNAMIC}}
        return {MODEL: export_graph(model or self.model, values, outputs=["logits"], dynamic=dynamic)}

    def settle_batches(self, folder: Path) -> int:
        return 1

    def calibrate(self, folder: Path, *, threads: int) -> tuple[()]:
        return ()

    def feeds(self, num_rows: int) -> None:
        """Return nothing: no candidate of this task has fixed scales."""

    def load(self, folder: Path, *, threads: int) -> Scorer:
        return Scorer.load(folder, threads=threads)

    def quality(self, runner: Scorer) -> Quality:
        return score(runner.probabilities(self.validation.rows), self.validation)

    def work(self, runner: Scorer, items: Sequence[Any]) -> int:
        runner.probabilities(items)
        return len(items)

    def test(self, runner: Scorer) -> Tested:
        split, probability = self.test_split, runner.probabilities(self.test_split.rows)
        answers = runner.answers(probability)
        golden = [
            Golden(route=ROUTE, request={"arrays": [split.rows[index].tolist()]}, answer=[answers[index]])
            for index in golden_numbers(len(split.rows))
        ]
        return Tested(
            num_test=len(split.rows),
            judged=f"the {len(split.rows):,} rows of the test split",
            float_quality=score(self.judged, split),
            quality=score(probability, split),
            agreement=float(((probability > 0.5) == (self.judged > 0.5)).mean()),
            mean_difference=float(np.abs(probability - self.judged).mean()),
            tables={SCORES: score_table(split.row, split.label_id, probability)},
            golden=golden,
        )


def score(probability: Probabilities, split: Split) -> Quality:
    return Quality(float(squared_errors(probability, split.label_id).mean()))
