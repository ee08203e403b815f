"""The optimizers of a training that a test takes through the loop itself, as components/fitting.py makes them."""

from torch.optim import Optimizer

from components.params import Training
from components.training.objective import Objective
from components.training.optimizers import build_optimizer


def optimizers_of(params: Training, objective: Objective) -> list[Optimizer]:
    """The optimizer of each player, in their order."""
    return [build_optimizer(params.optimizer_of(player.name), player.parameters) for player in objective.players]
