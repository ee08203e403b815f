"""The interface between an objective and the training loop.

Each objective is a module of components/objectives with a function `prepare`:

    prepare(params, *, model, facts, data, tracker, device, precision) -> Objective

`params` is the section of pretrain or finetune; `model` is on `device` already.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
from torch import Tensor, nn

from components.plumbing.errors import InputError

Part = TypeVar("Part")


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
    """The player's name, with which the names of its figures begin (`generator_loss`); empty for an only player. The
    section of params.yaml says by it what optimizer the player has (`optimizer_of`)."""
    parameters: Sequence[tuple[str, nn.Parameter]]
    """The player's named parameters; the loop leaves out those that are frozen."""
    loss_of: Callable[[nn.Module, Any], Tensor]
    """A function of the model and a batch that returns the batch's mean loss.

    Players take their steps in turn on each batch.
    """
    divided: Callable[[Any, int], Sequence[tuple[Any, float]]] | None = None
    """A function of a batch and a number of rows that returns the batch in parts of at most so many rows, each with the
    share that its mean loss has in that of the batch (see `shares`); None where a batch cannot be divided."""

    def parts(self, batch: Any, micro_batch_size: int | None) -> Sequence[tuple[Any, float]]:
        """Return the parts of a batch that are computed one after another, each with its share in the batch's loss;
        without a `micro_batch_size` the whole batch.

        Raise InputError where a batch cannot be divided.
        """
        if micro_batch_size is None:
            return [(batch, 1.0)]
        if self.divided is None:
            raise InputError("this objective cannot divide a batch; leave out micro_batch_size")
        return self.divided(batch, micro_batch_size)


def shares(parts: Sequence[Part], weight_of: Callable[[Part], float]) -> list[tuple[Part, float]]:
    """Return the parts of a batch, each with the share that its mean loss has in that of the batch.

    `weight_of` returns what the mean loss of a part divides by: its rows, its tokens, or the sum of its rows' weights.
    Parts of equal rows may differ in it, so their mean losses must not count alike.
    """
    weights = [weight_of(part) for part in parts]
    return [(part, weight / sum(weights)) for part, weight in zip(parts, weights, strict=True)]


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
    before_step: Callable[[nn.Module], None] = lambda model: None
    """A function of the model that is called as each step begins, before the players take theirs."""
    result: Callable[[nn.Module], nn.Module] = lambda model: model
    """A function of the trained model that returns the model to keep, without a head that only the objective needs.

    `storage.load` can make the kept model again from the recipe's settings.
    """
