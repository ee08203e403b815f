"""What the modes that train on labels share: one training, and the figures of its report."""

import logging
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from components.estimate.prediction import foretold
from components.models.facts import Facts
from components.params import Adapt, TrainFromLabels
from components.tracking import Tracker
from components.training import classification
from components.training.checkpoint import Position
from components.training.loop import plan_of, train
from components.training.machine import Machine
from components.training.objective import Data

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """The figures of a training on labels."""

    num_parameters: int
    num_trained_parameters: int
    num_steps: int
    num_epochs: int
    """Epochs that ran; early stopping may end before the recipe's number."""
    best_epoch: int
    """Whose weights are kept."""
    precision: str
    train_loss: float
    """Of the last epoch."""
    validation_loss: float
    """This and the next two: of the best epoch."""
    validation_accuracy: float
    validation_f1_macro: float


def train_on_labels(
    model: nn.Module, params: Adapt | TrainFromLabels, *, facts: Facts, data: Data, machine: Machine,
    checkpoints: Path, tracker: Tracker, title: str,
) -> tuple[Trained, Position]:  # fmt: skip
    """Train a classifier in place; gives its figures and its history."""
    model.to(machine.device)
    objective = classification.prepare(
        params, model=model, facts=facts, data=data, tracker=tracker, device=machine.device, precision=machine.precision
    )
    plan = plan_of(params, objective, machine.precision)
    with foretold(model, plan, objective, data=data, checkpoints=checkpoints, tracker=tracker):
        position = train(model, plan, objective, checkpoints=checkpoints, tracker=tracker, title=title)
    best = position.history[position.best_epoch - 1]
    trained = Trained(
        num_parameters=sum(p.numel() for p in model.parameters()),
        num_trained_parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
        num_steps=position.step,
        num_epochs=position.epoch,
        best_epoch=position.best_epoch,
        precision=machine.precision,
        train_loss=position.history[-1]["train_loss"],
        validation_loss=best["validation_loss"],
        validation_accuracy=best["validation_accuracy"],
        validation_f1_macro=best["validation_f1_macro"],
    )
    return trained, position
