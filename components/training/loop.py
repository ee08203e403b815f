"""The one training loop: steps, schedule, clipping, checkpoints, early stopping, and figures while it runs."""

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from components.params import Clip, EarlyStopping, Schedule, Training
from components.plumbing.artifacts import write_json
from components.plumbing.errors import InputError, TrainingError, examples
from components.plumbing.progress import progress
from components.tracking.tracker import Tracker
from components.training.checkpoint import (
    Position,
    has_checkpoint,
    load_best,
    load_checkpoint,
    save_best,
    save_checkpoint,
)
from components.training.objective import Batch, Objective, Player
from components.training.optimizers import clip_gradients, rate_factor
from components.training.precision import Precision

logger = logging.getLogger(__name__)

CHECKPOINT_INTERVAL_S = 60.0
POINTS_OF_A_CURVE = 200
FIRST_STEPS = 10
EXPLODED = 100.0
STOPPED = "stopped.json"


@dataclass(frozen=True)
class Plan:
    """The settings of a training, with everything that was derived from them."""

    num_epochs: int
    num_steps_per_epoch: int
    schedule: Schedule
    clip: Clip | None
    early_stopping: EarlyStopping | None
    precision: Precision
    unit: Literal["tokens", "rows"]

    @property
    def num_steps(self) -> int:
        return self.num_epochs * self.num_steps_per_epoch

    @property
    def steps_between_looks(self) -> int:
        """The most steps from one look at the validation split to the next."""
        every = self.early_stopping.every if self.early_stopping else None
        return min(every or self.num_steps_per_epoch, self.num_steps_per_epoch)

    @property
    def num_looks_per_epoch(self) -> int:
        return -(-self.num_steps_per_epoch // self.steps_between_looks)


def plan_of(params: Training, objective: Objective, precision: Precision) -> Plan:
    """Return the plan of a section of params.yaml, for an objective that knows its number of batches."""
    return Plan(
        num_epochs=params.epochs,
        num_steps_per_epoch=objective.num_steps_per_epoch,
        schedule=params.schedule,
        clip=params.clip,
        early_stopping=params.early_stopping,
        precision=precision,
        unit=objective.unit,
    )


class Seat:
    """A player in the loop, with its optimizer and those of its parameters that are trained."""

    def __init__(self, player: Player) -> None:
        self.player = player
        self.prefix = f"{player.name}_" if player.name else ""
        self.trained = [p for _, p in player.parameters if p.requires_grad]
        self.optimizer = player.make_optimizer(player.parameters)

    def step(self, model: nn.Module, batch: Batch, *, plan: Plan, position: Position) -> dict[str, float]:
        """Take one step on the batch; return its loss, learning rate and gradient norm.

        Raise BadStepError, before the weights change, where the step must not be taken.
        """
        factor = rate_factor(position.step, schedule=plan.schedule, num_steps=plan.num_steps)
        rate = factor * self.optimizer.defaults["lr"]
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        device = self.trained[0].device
        with torch.autocast(device.type, torch.bfloat16, enabled=plan.precision == "bf16"):
            loss_tensor = self.player.loss_of(model, batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss_tensor.backward()
        norm = clip_gradients(self.trained, plan.clip).item()
        loss = loss_tensor.item()
        check_step(loss, norm, position.first_losses.setdefault(self.player.name, []))
        self.optimizer.step()
        return {"loss": loss, "learning_rate": rate, "grad_norm": norm}


class BadStepError(Exception):
    """A step that must not be taken, with the reason, the loss and the gradient norm."""

    def __init__(self, reason: str, *, loss: float, norm: float) -> None:
        super().__init__(reason)
        self.loss, self.norm = loss, norm


def train(
    model: nn.Module, plan: Plan, objective: Objective, *, checkpoints: Path, tracker: Tracker, title: str
) -> Position:
    """Train `model` in place, and leave it with the weights of the best look, or of the end without early stopping.

    The objective's players take their steps in turn on each batch. A checkpoint in `checkpoints` is carried on from,
    and gives the same weights as a training that was never stopped.

    Raise TrainingError where a loss, the gradients or a look's figures are not finite, or where a loss explodes; the
    last checkpoint stays. Raise InputError where the metric of early stopping is not measured.
    """
    everything = [p for p in model.parameters() if p.requires_grad]
    seats = [Seat(player) for player in objective.players]
    optimizers = [seat.optimizer for seat in seats]
    position = load_checkpoint(checkpoints, model=model, optimizers=optimizers) or Position()
    position.precision, position.num_threads = plan.precision, torch.get_num_threads()
    if position.step:
        logger.info("carrying on from step %d of %d", position.step, plan.num_steps)
    every = max(1, plan.num_steps // POINTS_OF_A_CURVE)
    saved_at = spoke_at = time.monotonic()
    num_units = 0

    with progress(title, total=plan.num_steps) as bar:
        while position.epoch < plan.num_epochs and not is_over(position, plan.early_stopping):
            first, looked_at, look_at = next_look(position, plan)
            model.train()
            batches = objective.batches(position.epoch, position.step - first)
            # The rest of an epoch is gone through to its end, though no step may be left of it.
            is_rest = look_at == first + plan.num_steps_per_epoch
            for batch in islice(batches, None if is_rest else look_at - position.step):
                seen: dict[str, float] = {}
                for seat in seats:
                    if len(seats) > 1:
                        own(everything, seat.trained)
                    try:
                        figures = seat.step(model, batch, plan=plan, position=position)
                    except BadStepError as error:
                        raise stopped(error, seat, batch, plan, position, checkpoints, tracker) from error
                    remember(position, seat.player.name, figures["loss"])
                    seen |= {f"{seat.prefix}{name}": value for name, value in figures.items()}
                position.step += 1
                num_units += batch.num_units
                if position.step % every == 0:
                    now = time.monotonic()
                    rate = num_units / (now - spoke_at)
                    tracker.log_metrics({**seen, f"{plan.unit}_per_s": rate}, step=position.step)
                    bar.update(position.step, brief(seen, seats) | {f"{plan.unit}/s": rate})
                    spoke_at, num_units = now, 0
                if time.monotonic() - saved_at > CHECKPOINT_INTERVAL_S:
                    save_checkpoint(checkpoints, position, model=model, optimizers=optimizers)
                    saved_at = time.monotonic()

            own(everything, everything)
            figures = mean_losses(position, seats, look_at - looked_at) | objective.validate(model)
            if not all(map(math.isfinite, figures.values())):
                raise not_finite(figures, position, plan, checkpoints)
            position.epoch, steps_into_next = divmod(position.step, plan.num_steps_per_epoch)
            epochs = position.epoch
            if steps_into_next:
                epochs += round(steps_into_next / plan.num_steps_per_epoch, 3)
            position.looked_at, position.loss_sum = position.step, {}
            position.history.append({"epoch": epochs, **figures})
            tracker.log_metrics(position.history[-1], step=position.step)
            reached = f"epoch {epochs:g} of {plan.num_epochs}  {as_text(figures)}"
            logger.info(reached)
            bar.milestone(reached)
            if plan.early_stopping and is_better(figures, position.best_value, plan.early_stopping):
                position.best_value = figures[key_of(plan.early_stopping)]
                position.best_epoch, position.best_look = math.ceil(epochs), len(position.history)
                save_best(checkpoints, model)
            save_checkpoint(checkpoints, position, model=model, optimizers=optimizers)
            saved_at = spoke_at = time.monotonic()
            num_units = 0

    if plan.early_stopping:
        load_best(checkpoints, model)
    else:
        position.best_epoch, position.best_look = position.epoch, len(position.history)
    return position


def next_look(position: Position, plan: Plan) -> tuple[int, int, int]:
    """Return, in steps of the whole training, where the running epoch begins, where its last look was (its beginning
    where there was none yet), and where the next is due."""
    first = position.epoch * plan.num_steps_per_epoch
    looked_at = max(position.looked_at, first)
    return first, looked_at, min(looked_at + plan.steps_between_looks, first + plan.num_steps_per_epoch)


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


def mean_losses(position: Position, seats: Sequence[Seat], num_steps: int) -> dict[str, float]:
    """Return the `train_loss` of `num_steps` steps, the sum of the players' mean losses; with several players also each
    mean."""
    means = {f"{seat.prefix}train_loss": position.loss_sum[seat.player.name] / num_steps for seat in seats}
    return {"train_loss": sum(means.values())} | means


def brief(seen: dict[str, float], seats: Sequence[Seat]) -> dict[str, float]:
    """Return the figures that the progress bar has room for.

    They are each player's loss and, where there is one player, the learning rate.
    """
    losses = {f"{seat.prefix}loss": seen[f"{seat.prefix}loss"] for seat in seats}
    return losses if len(seats) > 1 else losses | {"lr": seen[f"{seats[0].prefix}learning_rate"]}


def key_of(early_stopping: EarlyStopping) -> str:
    """Return the name that the metric of early stopping has among the validation figures."""
    return f"validation_{early_stopping.metric}"


def is_better(figures: dict[str, float], best: float | None, early_stopping: EarlyStopping) -> bool:
    """Return whether a look beats the best so far: by a lower loss, or a higher value of any other metric.

    Raise InputError where the objective does not measure the metric.
    """
    key = key_of(early_stopping)
    if key not in figures:
        known = sorted(name.removeprefix("validation_") for name in figures if name.startswith("validation_"))
        raise InputError(
            f"early_stopping.metric is '{early_stopping.metric}', which this training does not measure; "
            f"it measures {examples(known)}"
        )
    return best is None or (figures[key] < best if early_stopping.metric == "loss" else figures[key] > best)


def is_over(position: Position, early_stopping: EarlyStopping | None) -> bool:
    """Return whether the best look lies `patience` looks back."""
    if early_stopping is None or not position.best_look:
        return False
    return len(position.history) - position.best_look >= early_stopping.patience


def stopped(
    error: BadStepError, seat: Seat, batch: Batch, plan: Plan, position: Position, checkpoints: Path, tracker: Tracker
) -> TrainingError:
    """Return the error for the user; write the numbers of the batch's rows to `checkpoints` and to the tracker."""
    checkpoints.mkdir(parents=True, exist_ok=True)
    left = checkpoints / STOPPED
    seen = {"player": seat.player.name, "loss": str(error.loss), "grad_norm": str(error.norm)}
    write_json(left, seen | {"step": position.step + 1, "rows": [int(row) for row in batch.row]})
    tracker.log_file(left)
    whose = f" ({seat.player.name})" if seat.player.name else ""
    kept = "the last good checkpoint is kept" if has_checkpoint(checkpoints) else "no checkpoint was made yet"
    return TrainingError(
        f"{error}{whose} at step {position.step + 1} of {plan.num_steps}, on rows {examples(batch.row.tolist())} "
        f"(all of them: {left}); {kept}. Lower optimizer.learning_rate, or set clip"
    )


def not_finite(figures: dict[str, float], position: Position, plan: Plan, checkpoints: Path) -> TrainingError:
    """Return the error of a look whose figures are not finite; its weights are not kept."""
    kept = "the last good checkpoint is kept" if has_checkpoint(checkpoints) else "no checkpoint was made yet"
    wrong = ", ".join(f"{name} is {value}" for name, value in figures.items() if not math.isfinite(value))
    return TrainingError(
        f"{wrong} after step {position.step} of {plan.num_steps}; {kept}. Lower optimizer.learning_rate, or set clip"
    )


def as_text(figures: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
