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

from components.estimate.prediction import foretold
from components.estimate.training import Trained, check_memory
from components.models.facts import Facts
from components.objectives import OBJECTIVES, objective_of
from components.tracking.tracker import Tracker
from components.training.checkpoint import Position
from components.training.loop import train
from components.training.machine import start
from components.training.objective import Data
from components.training.plan import plan_of
from components.training.precision import Precision


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
    def train_loss(self) -> float:
        """The training loss of the last epoch, or since the look before the last."""
        return self.position.history[-1]["train_loss"]


def fit(
    params: Trained, facts: Facts, data: Data, *, network: Callable[[], nn.Module], stage: str, checkpoints: Path,
    tracker: Tracker, title: str, first: Callable[[], nn.Module] | None = None,
) -> Fitted:  # fmt: skip
    """Train the network that `first` makes, or without it the one that `network` makes, as `params` says.

    `network` makes a network of the same shapes, from which the needed memory is told; `stage` names the section of
    params.yaml, and `title` the training while it runs. Raise InputError where the training does not fit into memory,
    and TrainingError where a figure is not finite or a loss explodes.
    """
    machine = start(params, checkpoints)
    tracker.tag(machine.tags())
    check_memory(params, facts, network=network, data=data, stage=stage, device=machine.device)
    model = (first or network)().to(machine.device)
    objective = OBJECTIVES[objective_of(params)]()(
        params, model=model, facts=facts, data=data, tracker=tracker, device=machine.device,
        precision=machine.precision,
    )  # fmt: skip
    trained = objective.model or model
    plan = plan_of(params, objective, machine.precision)
    with foretold(trained, plan, objective, data=data, checkpoints=checkpoints, tracker=tracker):
        position = train(trained, plan, objective, checkpoints=checkpoints, tracker=tracker, title=title)
    num_trained = sum(p.numel() for p in trained.parameters() if p.requires_grad)
    return Fitted(objective.result(trained.cpu()), num_trained, position, machine.precision)
