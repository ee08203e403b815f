"""The training of one section of params.yaml, from the memory check to the trained model, as every stage does it.

It runs on one device or on several. The loop and the checkpoints lie in components/training, and the objectives in
components/objectives; components/estimate tells how much memory and time a training needs. Trainings are seeded: two
runs on one machine, with the same number of threads, give the same weights, bit for bit, and a run that was stopped
carries on.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from torch import nn

from components.estimate.memory import Memory
from components.estimate.prediction import foretold
from components.estimate.training import TrainingSection, check_memory, told_if_too_large
from components.models.facts import Facts
from components.objectives import OBJECTIVES, objective_of
from components.plumbing.errors import InputError
from components.tracking.tracker import Tracker
from components.training.allocator import kept_pages
from components.training.checkpoint import Position
from components.training.loop import train
from components.training.machine import Machine, start
from components.training.objective import Data, Objective
from components.training.optimizers import build_optimizer
from components.training.plan import Plan, plan_of
from components.training.precision import Precision
from components.training.ranks import Present, Ranks
from components.training.recomputing import recompute_activations


@dataclass(frozen=True)
class Training:
    """A training of a stage, of which nothing is made yet."""

    params: TrainingSection
    """The section of params.yaml."""
    facts: Facts
    data: Data
    network: Callable[[], nn.Module]
    """A function that makes a network of the same shapes, from which the needed memory is told."""
    stage: str
    """The name of the section."""
    title: str
    """The name of the training while it runs."""
    checkpoints: Path
    """The folder of its checkpoints."""
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


def begin(training: Training, *, tracker: Tracker) -> Begun:
    """Make everything that the training's first step needs, on each of its ranks.

    Raise InputError where the training does not fit into memory, or where its batch cannot be divided among the ranks.
    """
    params, facts, data, ranks = training.params, training.facts, training.data, Present.ranks
    check_batch_size(params, ranks, stage=training.stage)
    machine = start(params, training.checkpoints, stage=training.stage, ranks=ranks)
    tracker.tag(machine.tags())
    memory = check_memory(
        params, facts, network=training.network, data=data, stage=training.stage, device=machine.device, ranks=ranks
    )  # fmt: skip
    # The other ranks get the first one's weights.
    model = ((training.first if ranks.is_first else None) or training.network)().to(ranks.birthplace)
    if params.activation_checkpointing:
        recompute_activations(model, stage=training.stage)
    objective = OBJECTIVES[objective_of(params)]()(
        params, model=model, facts=facts, data=data, tracker=tracker, device=machine.device,
        precision=machine.precision,
    )  # fmt: skip
    return Begun(objective.model or model, objective, plan_of(params, objective, machine.precision), machine, memory)


def check_batch_size(params: TrainingSection, ranks: Ranks, *, stage: str) -> None:
    """Raise InputError where the rows of a batch cannot be divided evenly among the ranks."""
    whole = params.batch_size
    if whole == "full" or not whole % ranks.size:
        return
    nearest = sorted({max(1, whole // ranks.size) * ranks.size, -(-whole // ranks.size) * ranks.size})
    raise InputError(
        f"{stage}.batch_size {whole} does not divide by {ranks.size} devices; set it to "
        f"{' or '.join(map(str, nearest))}, or devices to a number that divides it"
    )


def fit(training: Training, *, tracker: Tracker) -> Fitted:
    """Train to the end, or carry on to it from a checkpoint. Each of several ranks does so, and only what the first one
    returns is whole.

    Raise InputError where the training does not fit into memory, before it or in its course, and TrainingError where a
    figure is not finite or a loss explodes.
    """
    begun = begin(training, tracker=tracker)
    params, model, plan, ranks = training.params, begun.model, begun.plan, begun.machine.ranks
    with (
        kept_pages(ranks.local_size * begun.memory.peak if begun.memory else None),
        told_if_too_large(
            params, training.facts, begun.memory, network=training.network, data=training.data, stage=training.stage,
            ranks=ranks,
        ),
        foretold(
            model, plan, begun.objective, data=training.data, checkpoints=training.checkpoints, tracker=tracker,
            ranks=ranks,
        ) as utilisation,
    ):  # fmt: skip
        objective = ranks.spread(model, begun.objective)
        optimizers = [build_optimizer(params.optimizer_of(one.name), one.parameters) for one in objective.players]
        position = train(
            model, plan, objective, optimizers, checkpoints=training.checkpoints, tracker=tracker,
            title=training.title, utilisation=utilisation, ranks=ranks,
        )  # fmt: skip
    collected = ranks.collected(model)
    num_trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return Fitted(begun.objective.result(collected), num_trained, position, begun.machine.precision)
