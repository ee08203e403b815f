"""The trainings of benchmarks/gpu.py: one of each family on made-up rows, small to be checked and large to be timed."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from components.estimate.rows import SPECIAL, write_predictor
from components.fitting import Training
from components.models.facts import Facts
from components.models.storage import build
from components.params import PretrainFromData, TrainFromLabels
from components.training.objective import Data
from components.training.splits import Lists, Split, write_split

Section = PretrainFromData | TrainFromLabels


@dataclass(frozen=True)
class Case:
    """A training of one family on made-up rows."""

    task: str
    facts: Facts
    model: Mapping[str, Any]
    batch_size: int
    objective: Mapping[str, Any] | None = None
    """The section of that name; None for a classifier."""
    is_compiled: bool = False

    def params(self, **changes: Any) -> Section:
        """Return the section of params.yaml."""
        section: dict[str, Any] = COMMON | {"batch_size": self.batch_size, "model": dict(self.model)}
        if self.objective is None:
            section |= {"augment": None, "class_weights": "none"}
            return TrainFromLabels.model_validate_json(json.dumps(section | changes))
        return PretrainFromData.model_validate_json(json.dumps(section | {"objective": self.objective} | changes))


ADAMW = {"name": "adamw", "learning_rate": 1e-4, "weight_decay": 0.01, "betas": [0.9, 0.99]}
COMMON: dict[str, Any] = {
    "mode": "train", "source": None, "seed": 0, "epochs": 1, "steps_per_epoch": 3, "precision": "fp32",
    "optimizer": ADAMW, "schedule": {"name": "constant", "warmup_share": 0.0},
    "clip": {"by": "norm", "limit": 1.0}, "early_stopping": None,
}  # fmt: skip
MASKED = {"name": "masked", "share": 0.15, "mean_span": 1.0}
ADVERSARIAL = {
    "name": "adversarial", "label_smoothing": 0.1, "discriminator": ADAMW, "max_shift": 1, "averaging": 0.9,
}  # fmt: skip

SMALL: dict[str, Case] = {
    "gpt": Case(
        "text_generation", Facts(vocab_size=300, context=32),
        {"family": "gpt", "hidden_size": 64, "num_layers": 2, "num_heads": 2, "dropout": 0.0},
        batch_size=4, objective={"name": "causal"},
    ),
    "encoder": Case(
        "text_classification", Facts(num_labels=2, vocab_size=300, context=32),
        {"family": "encoder", "hidden_size": 64, "num_layers": 2, "num_heads": 2, "intermediate_size": 128,
         "dropout": 0.0},
        batch_size=4, objective=MASKED,
    ),
    "lstm": Case(
        "text_generation", Facts(vocab_size=300, context=32),
        {"family": "lstm", "embedding_size": 32, "hidden_size": 64, "num_layers": 2, "dropout": 0.0},
        batch_size=4, objective={"name": "causal"},
    ),
    "mlp": Case(
        "array_classification", Facts(num_labels=10, shape=(50,)),
        {"family": "mlp", "hidden_sizes": [64, 32], "activation": "relu", "batch_norm": True, "dropout": 0.0},
        batch_size=16,
    ),
    "gan": Case(
        "image_generation", Facts(num_labels=10, shape=(8, 8)),
        {"family": "gan", "latent_size": 16, "generator_sizes": [32, 64], "discriminator_sizes": [64, 32],
         "batch_norm": True, "dropout": 0.0},
        batch_size=16, objective=ADVERSARIAL,
    ),
}  # fmt: skip
GPT = Case(
    "text_generation", Facts(vocab_size=16384, context=1024),
    {"family": "gpt", "hidden_size": 1024, "num_layers": 8, "num_heads": 16, "dropout": 0.0},
    batch_size=16, objective={"name": "causal"},
)  # fmt: skip
LARGE: dict[str, Case] = {
    "gpt": GPT,
    "gpt, compiled": replace(GPT, is_compiled=True),
    "encoder": Case(
        "text_classification", Facts(num_labels=2, vocab_size=30522, context=128),
        {"family": "encoder", "hidden_size": 384, "num_layers": 6, "num_heads": 12, "intermediate_size": 1536,
         "dropout": 0.0},
        batch_size=256, objective=MASKED,
    ),
    "lstm": Case(
        "text_generation", Facts(vocab_size=4096, context=128),
        {"family": "lstm", "embedding_size": 512, "hidden_size": 1024, "num_layers": 2, "dropout": 0.0},
        batch_size=128, objective={"name": "causal"},
    ),
    "mlp": Case(
        "array_classification", Facts(num_labels=10, shape=(1000,)),
        {"family": "mlp", "hidden_sizes": [5000, 1000], "activation": "relu", "batch_norm": True, "dropout": 0.0},
        batch_size=4096,
    ),
    "gan": Case(
        "image_generation", Facts(num_labels=10, shape=(28, 28)),
        {"family": "gan", "latent_size": 64, "generator_sizes": [256, 512], "discriminator_sizes": [512, 256],
         "batch_norm": True, "dropout": 0.0},
        batch_size=1024, objective=ADVERSARIAL,
    ),
}  # fmt: skip
"""The sizes that are timed: width 1024 for the language model, else about those of the recipes."""


def made_up(case: Case, folder: Path) -> Data:
    """Write the splits of a case: rows for a few batches, with random numbers, all texts of the longest length."""
    random = np.random.default_rng(0)
    facts = case.facts
    write_predictor(folder / "predictor", case.task, facts)
    paths: list[Path] = []
    for name, count in {"train": 3 * case.batch_size, "validation": 8}.items():
        numbers: dict[str, np.ndarray] = {
            "row": np.arange(count),
            "label_id": np.arange(count) % max(1, facts.num_labels),
        }
        size = prod(facts.shape) if facts.shape else facts.context
        if facts.shape:
            flat = random.uniform(-1, 1, count * size).astype(np.float32)
        else:
            flat = random.integers(len(SPECIAL), facts.vocab_size, count * size).astype(np.int32)
            numbers["num_bytes"] = np.full(count, 4 * size)
        column = Lists(flat, np.arange(count + 1) * size)
        paths.append(folder / f"{name}.safetensors")
        write_split(paths[-1], Split(numbers, {"values" if facts.shape else "input_ids": column}))
    return Data(*paths, unlabelled=None, predictor=folder / "predictor")


def training_of(case: Case, params: Section, folder: Path) -> Training:
    network = partial(build, params.model, case.facts)
    rows, title = made_up(case, folder / f"rows-{time.monotonic_ns()}"), params.model.family
    checkpoints = folder / "checkpoints"
    return Training(params, case.facts, rows, network, stage="pretrain", title=title, checkpoints=checkpoints)
