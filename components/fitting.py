"""The training of one section of params.yaml, from the memory check to the trained model, as every stage does it.

The loop and the checkpoints lie in components/training, and the objectives in components/objectives;
components/estimate tells how much memory and time a training needs. Trainings are seeded: two runs on one machine, with
the same number of threads, give the same weights, bit for bit, and a run that was stopped carries on.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from torch import nn

from components.estimate.memory import Memory
from components.estimate.prediction import foretold
from components.estimate.training import Trained, check_memory, told_if_too_large
from components.models.facts import Facts
from components.objectives import OBJECTIVES, objective_of
from components.tracking.tracker import Tracker
from components.training.allocator import kept_pages
from components.training.checkpoint import Position
from components.training.loop import train
from components.training.machine import Machine, start
from components.training.objective import Data, Objective
from components.training.plan import Plan, plan_of
from components.training.precision import Precision
from components.training.recomputing import recompute_activations


@dataclass(frozen=True)
class Training:
    """A training of a stage, of which nothing is made yet."""

    params: Trained
    """The section of params.yaml."""
    facts: Facts
    data: Data
    network: Callable[[], nn.Module]
    """A function that makes a network of the same shapes, from which the needed memory is told."""
    stage: str
    """The name of the section."""
    title: str
    """The name of the training while it runs."""
    first: Callable[[], nn.Module] | None = None
    """A function that makes the network that is trained, with its first weights; None where `network` does."""


@dataclass(frozen=True)
class Begun:
    """A training that is about to take its first step."""

    model: nn.Module
    """The model that is trained, with a head that only the objective needs."""
    objective: Objective
    plan: Plan
    machine: Machine
    memory: Memory | None
    """What a step was estimated to need; None where it could not be told."""


@dataclass(frozen=True)
class Fitted:
    """A trained model, on the CPU, and how its training went."""

    model: nn.Module
    """The model with the weights of the best look, or of the last one without early stopping.

    A head that only the objective needs is left out.
    """
    num_trained_parameters: int
    """The number of parameters that had gradients, including those of a head that only the objective needs."""
    position: Position
    precision: Precision

    @property
    def num_parameters(self) -> int:
        return sum(p.numel() for p in self.model.parameters())

    @property
    def best(self) -> dict[str, float]:
        """The figures of the look whose weights are kept, by name."""
        return self.position.history[self.position.best_look - 1]

    @property
    def num_epochs(self) -> int:
        """The number of epochs that were begun; early stopping may end within one."""
        return ceil(self.position.history[-1]["epoch"])

    @property
    def num_left_out(self) -> int | None:
        """The number of batches that were left out; None where the recipe lets none be (`on_spike`)."""
        counted = self.position.history[-1].get("num_left_out")
        return None if counted is None else int(counted)

    @property
    def train_loss(self) -> float:
        """The training loss of the last epoch, or since the look before the last."""
        return self.position.history[-1]["train_loss"]


def begin(training: Training, *, checkpoints: Path, tracker: Tracker) -> Begun:
    """Make everything that the training's first step needs.

    Raise InputError where the training does not fit into memory.
    """
    params, facts, data = training.params, training.facts, training.data
    machine = start(params, checkpoints, stage=training.stage)
    tracker.tag(machine.tags())
    memory = check_memory(
        params, facts, network=training.network, data=data, stage=training.stage, device=machine.device
    )  # fmt: skip
    model = (training.first or training.network)().to(machine.device)
    if params.activation_checkpointing:
        recompute_activations(model, stage=training.stage)
    objective = OBJECTIVES[objective_of(params)]()(
        params, model=model, facts=facts, data=data, tracker=tracker, device=machine.device,
        precision=machine.precision,
    )  # fmt: skip
    return Begun(objective.model or model, objective, plan_of(params, objective, machine.precision), machine, memory)


def fit(training: Training, *, checkpoints: Path, tracker: Tracker) -> Fitted:
    """Train to the end, or carry on to it from a checkpoint.

    Raise InputError where the training does not fit into memory, before it or in its course, and TrainingError where a
    figure is not finite or a loss explodes.
    """
    begun = begin(training, checkpoints=checkpoints, tracker=tracker)
    model, objective, plan = begun.model, begun.objective, begun.plan
    with (
        kept_pages(begun.memory.peak if begun.memory else None),
        told_if_too_large(training.params, training.facts, begun.memory, stage=training.stage),
        foretold(
            model, plan, objective, data=training.data, checkpoints=checkpoints, tracker=tracker
        ) as utilisation,
    ):  # fmt: skip
        position = train(
            model, plan, objective, checkpoints=checkpoints, tracker=tracker, title=training.title,
            utilisation=utilisation,
        )  # fmt: skip
    num_trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return Fitted(objective.result(model.cpu()), num_trained, position, begun.machine.precision)
