"""A batch that is computed in parts takes the step of the whole batch."""

import importlib
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.numpy import load_file, save_file
from torch import nn

from components import fitting
from components.estimate.rows import Counts, write_predictor, write_rows
from components.models.encoder.network import classifier_of, config_of
from components.models.facts import Facts
from components.models.storage import build
from components.objectives import OBJECTIVES, objective_of
from components.params import Adapt, PretrainFromData, TrainFromLabels
from components.plumbing.errors import InputError
from components.tracking.tracker import NullTracker
from components.training.loop import train
from components.training.objective import Data, Player
from components.training.plan import plan_of
from tests.optimizers import optimizers_of

# Plain steps show a difference as it is, where Adam's would make a small one large.
SGD = {"name": "sgd", "learning_rate": 0.1, "weight_decay": 0.0, "momentum": 0.5}
COMMON = {
    "mode": "train", "seed": 0, "epochs": 2, "steps_per_epoch": None, "batch_size": 20,
    "precision": "fp32", "optimizer": SGD, "schedule": {"name": "constant", "warmup_share": 0.0},
    "clip": {"by": "norm", "limit": 1.0}, "early_stopping": None,
}  # fmt: skip
ENCODER = {"family": "encoder", "hidden_size": 32, "num_layers": 1, "num_heads": 2, "intermediate_size": 64,
           "dropout": 0.0}  # fmt: skip
TEXTS = Facts(num_labels=3, vocab_size=60, context=24)
IMAGES = Facts(num_labels=3, shape=(6, 4))
LABELS = {"class_weights": "balanced"}
PERCEPTRON = {"family": "mlp", "hidden_sizes": [16], "activation": "relu", "batch_norm": False, "dropout": 0.0}
MLP = LABELS | {"source": None, "augment": None, "model": PERCEPTRON}
CASES: dict[str, tuple[str, Facts, type, dict[str, Any]]] = {
    "texts": ("text_classification", TEXTS, Adapt, LABELS | {
        "mode": "adapt", "way": {"name": "full", "freeze": []}, "dropout": 0.0, "control": False,
    }),
    "arrays": ("array_classification", IMAGES, TrainFromLabels, MLP),
    "arrays, all alike": ("array_classification", IMAGES, TrainFromLabels, MLP | {
        "class_weights": "none", "batch_size": "full",
    }),
    "masked": ("text_classification", TEXTS, PretrainFromData, {
        "source": None,
        "model": ENCODER, "objective": {"name": "masked", "share": 0.3, "mean_span": 2.0},
    }),
    "causal": ("text_generation", Facts(vocab_size=60, context=8), PretrainFromData, {
        "source": None,
        "model": {"family": "gpt", "hidden_size": 32, "num_layers": 1, "num_heads": 2, "dropout": 0.0},
        "objective": {"name": "causal"}, "steps_per_epoch": 4, "batch_size": "full",
    }),
    "adversarial": ("image_generation", IMAGES, PretrainFromData, {
        "source": None,
        "model": {"family": "gan", "latent_size": 4, "generator_sizes": [16], "discriminator_sizes": [16],
                  "batch_norm": False, "dropout": 0.0},
        "objective": {"name": "adversarial", "label_smoothing": 0.1, "max_shift": 1, "averaging": 0.9,
                      "discriminator": SGD},
        "batch_size": "full", "steps_per_epoch": 4,
    }),
}  # fmt: skip
"""By name, the task, the facts, and the section of a training whose parts are unlike in what their losses divide by."""


def rows_of(folder: Path, task: str, facts: Facts) -> Data:
    write_predictor(folder / "predictor", task, facts)
    counts = Counts(37, 9, 0, facts.context, lengths=(3, 9, 22, 5, 14) if facts is TEXTS else ())
    data = write_rows(folder / "rows", facts, counts, predictor=folder / "predictor")
    split, random = load_file(data.train), np.random.default_rng(0)
    if facts.num_labels:  # of classes that are far from alike in number
        split["label_id"] = np.minimum(random.geometric(0.7, 37) - 1, 2).astype(np.int32)
    if facts.shape:
        split["values"] = random.uniform(-1, 1, size=37 * 24).astype(np.float32)
    save_file(split, data.train)
    return data


def network(params: Any, facts: Facts) -> nn.Module:
    torch.manual_seed(0)
    if isinstance(params, Adapt):
        settings = PretrainFromData.model_validate(COMMON | CASES["masked"][3], strict=False).model
        return classifier_of(config_of(settings, facts), labels=["a", "b", "c"], dropout=0.0)  # pyright: ignore
    return build(params.model, facts)


def trained(name: str, folder: Path, **changes: Any) -> tuple[list[dict[str, float]], dict[str, torch.Tensor]]:
    """The figures of each look, and the weights in the end."""
    task, facts, section, settings = CASES[name]
    params = section.model_validate(COMMON | settings | changes, strict=False)
    data = rows_of(folder, task, facts)
    model = network(params, facts)
    objective = OBJECTIVES[objective_of(params)]()(
        params, model=model, facts=facts, data=data, tracker=NullTracker(), device=torch.device("cpu"),
        precision="fp32",
    )  # fmt: skip
    plan, whole = plan_of(params, objective, "fp32"), objective.model or model
    position = train(
        whole,
        plan,
        objective,
        optimizers_of(params, objective),
        checkpoints=folder / "checkpoints",
        tracker=NullTracker(),
        title="x",
    )
    return position.history, whole.state_dict()


def differences(one: Any, other: Any) -> float:
    """The largest relative difference between two curves, and between two models' weights."""
    curves = [abs(a[key] - b[key]) / abs(b[key] or 1) for a, b in zip(one[0], other[0], strict=True) for key in b]
    weights = [float((one[1][key] - other[1][key]).abs().max()) for key in other[1]]
    return max(curves + weights)


@pytest.mark.parametrize("name", CASES)
def test_parts_give_the_curve_of_the_whole_batch_and_not_that_of_parts_that_count_alike(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trained(name, tmp_path / "whole")
    parts = trained(name, tmp_path / "parts", micro_batch_size=5)
    assert differences(parts, whole) < 1e-5
    module = importlib.import_module(f"components.objectives.{kind_of(name)}")
    monkeypatch.setattr(module, "shares", lambda parts, weight_of: [(part, 1 / len(parts)) for part in parts])
    assert differences(trained(name, tmp_path / "alike", micro_batch_size=5), whole) > 1e-3


def kind_of(name: str) -> str:
    return name if name in OBJECTIVES else "classification"


@pytest.mark.parametrize(
    ("whole", "part", "said"),
    [
        (8, 16, "micro_batch_size 16 is larger than batch_size 8; it is a part of it"),
        (12, 5, "batch_size 12 does not divide by micro_batch_size 5; set the latter to 4 or 6"),
    ],
)
def test_parts_that_do_not_make_up_a_batch_are_refused(whole: int, part: int, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        TrainFromLabels.model_validate(COMMON | MLP | {"batch_size": whole, "micro_batch_size": part}, strict=False)


def test_batch_norm_is_refused_since_it_sees_parts_alone(tmp_path: Path) -> None:
    model = PERCEPTRON | {"batch_norm": True}
    with pytest.raises(InputError, match=r"with finetune.micro_batch_size a step would not be that of the whole batch"):
        trained("arrays", tmp_path, model=model, micro_batch_size=5)


def test_an_objective_that_cannot_divide_is_refused() -> None:
    player = Player("", [], lambda model, batch: batch)
    assert player.parts("batch", None) == [("batch", 1.0)]
    with pytest.raises(InputError, match="leave out micro_batch_size"):
        player.parts("batch", 4)


def test_a_stage_computes_layers_again_for_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "foretold", lambda *args, **kwargs: nullcontext())
    task, facts, section, settings = CASES["causal"]
    settings = settings | {"batch_size": 8, "model": settings["model"] | {"dropout": 0.3}}
    weights, is_used = [], []
    for recomputes in (False, True):
        params = section.model_validate(COMMON | settings | {"activation_checkpointing": recomputes}, strict=False)
        folder = tmp_path / str(recomputes)
        data, make = rows_of(folder, task, facts), partial(network, params, facts)
        training = fitting.Training(params, facts, data, make, "pretrain", "x", folder / "checkpoints")
        found = fitting.fit(training, tracker=NullTracker())
        weights.append(found.model.state_dict())
        is_used.append(any(getattr(part, "gradient_checkpointing", False) for part in found.model.modules()))
    assert is_used == [False, True]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
