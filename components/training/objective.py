"""The interface between an objective and the training loop.

Each objective is a module of components/objectives with a function `prepare`:

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
    """Rows on which one step is taken."""

    @property
    def row(self) -> np.ndarray:
        """The numbers of the rows in data.parquet, (B,)."""
        ...

    @property
    def num_units(self) -> int:
        """The number of tokens or rows, for the rate that is shown."""
        ...


@dataclass(frozen=True)
class Player:
    """A part of the model with a loss and an optimizer of its own; most objectives have just one."""

    name: str
    """The player's name, with which the names of its figures begin (`generator_loss`); empty for an only player."""
    make_optimizer: Callable[[Iterable[tuple[str, nn.Parameter]]], torch.optim.Optimizer]
    """A function that makes an optimizer over the player's named parameters, or over others that stand in for them."""
    parameters: Sequence[tuple[str, nn.Parameter]]
    """The player's named parameters; the loop leaves out those that are frozen."""
    loss_of: Callable[[nn.Module, Any], Tensor]
    """A function of the model and a batch that returns the batch's mean loss.

    Players take their steps in turn on each batch.
    """


@dataclass(frozen=True)
class Data:
    """The files of preprocess from which a training reads."""

    train: Path
    validation: Path
    unlabelled: Path | None
    predictor: Path
    """The folder with predictor.json, and with tokenizer.json where the rows are texts."""


@dataclass(frozen=True)
class Objective:
    """The parts of an objective that the training loop asks for."""

    players: Sequence[Player]
    batches: Callable[[int, int], Iterable[Batch]]
    """A function `batches(epoch, start)` of an epoch's batches from the `start`-th on, the same at each call."""
    num_steps_per_epoch: int
    validate: Callable[[nn.Module], dict[str, float]]
    """A function of the model that returns figures of the validation split after each epoch, and may log samples.

    `validation_loss` is among the figures.
    """
    unit: Literal["tokens", "rows"]
    model: nn.Module | None = None
    """The model that is trained, such as one with a head for the objective alone; None for the given model."""
    result: Callable[[nn.Module], nn.Module] = lambda model: model
    """A function of the trained model that returns the model to keep, without a head that only the objective needs.

    `storage.load` can make the kept model again from the recipe's settings.
    """
