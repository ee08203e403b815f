"""One training of a section of params.yaml, from the first check to the trained model, as every stage does it.

The loop, the objectives and the checkpoints are components/training; what a training needs and how long it takes is
told by components/estimate, beside it. Seeded: on one machine two runs give the same weights, bit for bit; a run that
was stopped carries on.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from components.estimate.prediction import foretold
from components.estimate.training import Trained, check_memory
from components.models.facts import Facts
from components.objectives import OBJECTIVES, objective_of
from components.tracking.tracker import Tracker
from components.training.checkpoint import Position
from components.training.loop import plan_of, train
from components.training.machine import start
from components.training.objective import Data
from components.training.precision import Precision


@dataclass(frozen=True)
class Fitted:
    """A trained model, on the processor, and how its training went."""

    model: nn.Module
    """With the weights of the best epoch, or of the last without early stopping, and no head that only the objective
    needed."""
    num_trained_parameters: int
    """Those that had gradients, the objective's own among them."""
    position: Position
    precision: Precision

    @property
    def num_parameters(self) -> int:
        return sum(p.numel() for p in self.model.parameters())

    @property
    def best(self) -> dict[str, float]:
        """The figures of the epoch whose weights are kept."""
        return self.position.history[self.position.best_epoch - 1]

    @property
    def train_loss(self) -> float:
        """Of the last epoch."""
        return self.position.history[-1]["train_loss"]


def fit(
    params: Trained, facts: Facts, data: Data, *, network: Callable[[], nn.Module], stage: str, checkpoints: Path,
    tracker: Tracker, title: str, first: Callable[[], nn.Module] | None = None,
) -> Fitted:  # fmt: skip
    """Train the network that `first` makes (`network`, where it is not given) as `params` says.

    `network` makes one of the same shapes, on which the memory is told; `stage` is whose section it is, and `title`
    what the training is called while it runs. InputError where it cannot fit into memory, TrainingError where its loss
    leaves the finite numbers.
    """
    machine = start(params, checkpoints)
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
