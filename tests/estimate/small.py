"""Small networks with an objective, for the tests of this folder."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from components.models.facts import Facts
from components.models.gpt.network import build as build_gpt
from components.params import Optimizer
from components.params.families.gpt import GptSettings
from components.training.objective import Objective, Player

ADAMW = Optimizer(name="adamw", learning_rate=1e-3, weight_decay=0.01, betas=(0.9, 0.99))
SGD = Optimizer(name="sgd", learning_rate=1e-3, weight_decay=0.0, momentum=0.0)
MOMENTUM = Optimizer(name="sgd", learning_rate=1e-3, weight_decay=0.0, momentum=0.9)


@dataclass(frozen=True)
class Case:
    model: nn.Module
    objective: Objective
    batch: object
    optimizer: Optimizer


def objective_of(model: nn.Module, loss_of: Callable[[nn.Module, Any], Any], batch: object) -> Objective:
    return Objective(
        players=[Player("", list(model.named_parameters()), loss_of)],
        batches=lambda epoch, start: [batch],
        num_steps_per_epoch=10,
        validate=lambda model: {},
        unit="rows",
    )


def gpt_case(*, dropout: float = 0.0, optimizer: Optimizer = ADAMW) -> Case:
    settings = GptSettings(family="gpt", hidden_size=64, num_layers=2, num_heads=4, dropout=dropout)
    model = build_gpt(settings, Facts(vocab_size=500, context=64))
    ids = torch.arange(8 * 65).reshape(8, 65) % 500
    batch = SimpleNamespace(input_ids=ids[:, :-1], target=ids[:, 1:], row=np.arange(8), num_units=512)

    def loss_of(model: nn.Module, batch: SimpleNamespace) -> Any:
        return functional.cross_entropy(model(batch.input_ids).float().flatten(0, 1), batch.target.flatten())

    return Case(model, objective_of(model, loss_of, batch), batch, optimizer)


def mlp_case(*, sizes: tuple[int, ...] = (100, 200, 10), num_rows: int = 32, optimizer: Optimizer = ADAMW) -> Case:
    layers = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())]
    model = nn.Sequential(*layers[:-1])
    label = torch.arange(num_rows) % sizes[-1]
    batch = SimpleNamespace(values=torch.ones(num_rows, sizes[0]), label=label, row=np.arange(num_rows), num_units=32)

    def loss_of(model: nn.Module, batch: SimpleNamespace) -> Any:
        return functional.cross_entropy(model(batch.values).float(), batch.label)

    return Case(model, objective_of(model, loss_of, batch), batch, optimizer)
