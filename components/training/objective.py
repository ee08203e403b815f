"""What an objective gives the training loop. Each is a module of components/objectives with a function `prepare`:

    prepare(params, *, model, facts, data, tracker, device, precision) -> Objective

`params` is the section of pretrain or finetune; `model` is on `device` already.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn


class Batch(Protocol):
    """Rows that one step is taken on."""

    @property
    def row(self) -> np.ndarray:
        """Their numbers in data.parquet, (B,)."""
        ...

    @property
    def num_units(self) -> int:
        """Tokens or rows, for the rate that is shown."""
        ...


@dataclass(frozen=True)
class Player:
    """A part of the model with a loss and an optimizer of its own; most objectives have just one."""

    name: str
    """Begins the names of its figures (`generator_loss`); empty where there is no other."""
    make_optimizer: Callable[[Iterable[tuple[str, nn.Parameter]]], torch.optim.Optimizer]
    """Over its parameters, or others that stand in for them."""
    parameters: Sequence[tuple[str, nn.Parameter]]
    """Its own; those that are frozen are left out by the loop."""
    loss_of: Callable[[nn.Module, Any], Tensor]
    """The mean loss of a batch. Players take their steps in turn on each batch."""


@dataclass(frozen=True)
class Data:
    """Where preprocess left what is trained on."""

    train: Path
    validation: Path
    unlabelled: Path | None
    predictor: Path
    """The folder with predictor.json, and tokenizer.json where there are texts."""


@dataclass(frozen=True)
class Objective:
    players: Sequence[Player]
    batches: Callable[[int, int], Iterable[Batch]]
    """An epoch's batches from the start-th on: batches(epoch, start), the same at each call."""
    num_steps_per_epoch: int
    validate: Callable[[nn.Module], dict[str, float]]
    """Figures of the validation split, `validation_loss` among them, after each epoch. May log samples."""
    unit: Literal["tokens", "rows"]
    model: nn.Module | None = None
    """What is trained, where it is more than the model that was given (it may have a head for this alone)."""
    result: Callable[[nn.Module], nn.Module] = lambda model: model
    """What is kept of the trained model, which `storage.load` makes again from the recipe's settings (not a head that
    only the objective needs)."""
