"""The players of a training in the loop: each takes a step of its own on every batch, unless the step is a bad one."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from components.training.checkpoint import Position
from components.training.objective import Batch, Player
from components.training.optimizers import clip_gradients, rate_factor
from components.training.phases import phase
from components.training.plan import Plan
from components.training.ranks import ALONE, Ranks

FIRST_STEPS = 10
EXPLODED = 100.0


class Seat:
    """A player in the loop, with its optimizer and those of its parameters that are trained."""

    def __init__(self, player: Player, optimizer: torch.optim.Optimizer, ranks: Ranks = ALONE) -> None:
        self.player, self.optimizer, self.ranks = player, optimizer, ranks
        self.prefix = f"{player.name}_" if player.name else ""
        self.trained = [p for _, p in player.parameters if p.requires_grad]

    def step(self, model: nn.Module, batch: Batch, *, plan: Plan, position: Position) -> dict[str, float]:
        """Take one step on the batch; return its loss, learning rate and gradient norm.

        Raise BadStepError, before the weights change, where the step must not be taken.
        """
        factor = rate_factor(position.step, schedule=plan.schedule, num_steps=plan.num_steps)
        rate = factor * self.optimizer.defaults["lr"]
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        device = self.trained[0].device
        self.optimizer.zero_grad(set_to_none=True)
        losses: list[Tensor] = []
        for part, share in self.player.parts(batch, plan.micro_batch_size):
            with phase("forward"), torch.autocast(device.type, torch.bfloat16, enabled=plan.precision == "bf16"):
                loss_tensor = self.player.loss_of(model, part) * share
            with phase("backward"):
                loss_tensor.backward()
            losses.append(loss_tensor.detach())
        with phase("optimizer"):
            norm = clip_gradients(self.trained, plan.clip, ranks=self.ranks).item()
            loss = self.ranks.total(torch.stack(losses).sum()).item()
            check_step(loss, norm, position.first_losses.setdefault(self.player.name, []))
            self.optimizer.step()
        return {"loss": loss, "learning_rate": rate, "grad_norm": norm}


class BadStepError(Exception):
    """A step that must not be taken, with the reason, the loss and the gradient norm."""

    def __init__(self, reason: str, *, loss: float, norm: float) -> None:
        super().__init__(reason)
        self.loss, self.norm = loss, norm


def own(everything: Sequence[nn.Parameter], owned: Sequence[nn.Parameter]) -> None:
    """Let only the parameters `owned` have gradients.

    A player's loss passes through the other players' parameters, but does not move them.
    """
    known = {id(p) for p in owned}
    for parameter in everything:
        parameter.requires_grad_(id(parameter) in known)


def check_step(loss: float, norm: float, first_losses: Sequence[float]) -> None:
    """Raise BadStepError where the loss or the gradient norm is not finite, or where the loss explodes.

    A loss explodes where it is over 100 times the mean of the first ten, which counts as at least 1.
    """
    if not math.isfinite(loss) or not math.isfinite(norm):
        raise BadStepError(f"the loss is {loss} and the gradient norm {norm}", loss=loss, norm=norm)
    if first_losses:
        limit = EXPLODED * max(1.0, sum(first_losses) / len(first_losses))
        if loss > limit:
            raise BadStepError(f"the loss explodes: {loss:.4g}, more than {limit:.4g},", loss=loss, norm=norm)


def remember(position: Position, player: str, loss: float) -> None:
    """Add a step's loss to the sum since the last look, and to the first losses while these are fewer than
    FIRST_STEPS."""
    position.loss_sum[player] = position.loss_sum.get(player, 0.0) + loss
    first = position.first_losses[player]
    if len(first) < FIRST_STEPS:
        first.append(loss)
