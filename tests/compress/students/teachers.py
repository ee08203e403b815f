"""Trained teachers on disk, tiny, with the settings of a student's training."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.finetune import adapt, train
from components.finetune.stage import Inputs
from components.params import Distillation, Shape
from components.plumbing.artifacts import PREDICTOR, read_json, write_json
from components.tracking.tracker import NullTracker
from components.training.objective import Data
from tests.finetune import test_adapt, test_train
from tests.finetune.rows import array_inputs, as_json, outputs_in, text_inputs

WHOLE = {"layers": None, "feed_forward": 1.0, "heads": 1.0, "rank": None}
DISTILLATION = {
    "seed": 0, "epochs": 2, "steps_per_epoch": None, "batch_size": 16, "precision": "fp32",
    "optimizer": {"name": "adamw", "learning_rate": 1e-3, "weight_decay": 0.01, "betas": [0.9, 0.999]},
    "schedule": {"name": "linear", "warmup_share": 0.1}, "clip": {"by": "norm", "limit": 1.0}, "early_stopping": None,
    "temperature": 2.0, "hidden": 1.0, "labels": 0.0, "dropout": 0.0, "freeze": ["embeddings"],
    "texts": {"mask": 0.25, "drop": 0.25, "splice": 0.25, "words": 0.2},
}  # fmt: skip
OF_ARRAYS = {"hidden": 0.0, "freeze": [], "texts": None, "images": {"shift": 1, "rotate": 0.0}}


@dataclass(frozen=True)
class Teacher:
    """A fine-tuned model, and the rows that it learned."""

    model: Path
    data: Data


def shape(**changes: Any) -> Shape:
    return Shape.model_validate_json(as_json(WHOLE, **changes))


def distillation(**changes: Any) -> Distillation:
    return Distillation.model_validate_json(as_json(DISTILLATION, **changes))


def text_teacher(folder: Path) -> Teacher:
    """A tiny encoder of two layers that tells 200 tiny texts apart."""
    inputs = text_inputs(folder)
    settings = read_json(inputs.predictor / PREDICTOR)
    write_json(inputs.predictor / PREDICTOR, settings | {"unicode": "NFKC", "mask": []})
    outputs = outputs_in(folder / "out")
    adapt.run(test_adapt.params(epochs=2), inputs, outputs, tracker=NullTracker())
    return teacher_of(inputs, outputs.model)


def array_teacher(folder: Path) -> Teacher:
    """A tiny perceptron of two hidden layers with batch norm."""
    inputs = array_inputs(folder)
    outputs = outputs_in(folder / "out")
    model = test_train.MLP | {"hidden_sizes": [48, 32], "batch_norm": True}
    train.run(test_train.params(model=model, epochs=2), inputs, outputs, tracker=NullTracker())
    return teacher_of(inputs, outputs.model)


def teacher_of(inputs: Inputs, model: Path) -> Teacher:
    """The validation split stands for rows without a label, whose labels nobody reads."""
    unlabelled = inputs.validation.with_name("unlabelled.parquet")
    shutil.copyfile(inputs.validation, unlabelled)
    return Teacher(model, Data(inputs.train, inputs.validation, unlabelled, inputs.predictor))
