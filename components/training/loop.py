"""The one training loop: steps, schedule, clipping, checkpoints, early stopping, figures as it goes."""

import logging
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from components.errors import TrainingError, examples
from components.params import EarlyStopping, Optimizer, Schedule
from components.progress import progress
from components.tracking import Tracker
from components.training.batches import Batch
from components.training.checkpoint import Position, load_best, load_checkpoint, save_best, save_checkpoint
from components.training.optimizers import build_optimizer, learning_rate
from components.training.precision import Precision

logger = logging.getLogger(__name__)

CHECKPOINT_INTERVAL_S = 60.0
POINTS_OF_A_CURVE = 200


@dataclass(frozen=True)
class Plan:
    """What a training does, with everything that was derived from the settings."""

    num_epochs: int
    num_steps_per_epoch: int
    optimizer: Optimizer
    schedule: Schedule
    max_grad_norm: float | None
    early_stopping: EarlyStopping
    precision: Precision

    @property
    def num_steps(self) -> int:
        return self.num_epochs * self.num_steps_per_epoch


def train(
    model: nn.Module,
    plan: Plan,
    *,
    batches: Callable[[int, int], Iterable[Batch]],
    loss_of: Callable[[nn.Module, Batch], Tensor],
    validate: Callable[[nn.Module], dict[str, float]],
    checkpoints: Path,
    tracker: Tracker,
    title: str,
) -> Position:
    """Train `model` in place and leave it with the best epoch's weights.

    `batches(epoch, start)` gives an epoch's batches from the `start`-th on; `loss_of` the mean loss of a batch;
    `validate` the validation figures, which are compared by `plan.early_stopping.metric`. A checkpoint in
    `checkpoints` is carried on from, and gives the same weights as a training that was never stopped.

    Raises TrainingError where the loss or the gradients are not finite; the last checkpoint stays.
    """
    device = next(model.parameters()).device
    optimizer = build_optimizer(plan.optimizer, model.named_parameters())
    position = load_checkpoint(checkpoints, model=model, optimizer=optimizer) or Position()
    if position.step:
        logger.info("carrying on from step %d of %d", position.step, plan.num_steps)
    trainable = [p for p in model.parameters() if p.requires_grad]
    every = max(1, plan.num_steps // POINTS_OF_A_CURVE)
    saved_at = spoke_at = time.monotonic()
    num_tokens = 0

    with progress(title, total=plan.num_steps) as bar:
        while position.epoch < plan.num_epochs and not is_over(position, plan.early_stopping):
            model.train()
            for batch in batches(position.epoch, position.step - position.epoch * plan.num_steps_per_epoch):
                rate = learning_rate(
                    position.step,
                    schedule=plan.schedule,
                    num_steps=plan.num_steps,
                    highest=plan.optimizer.learning_rate,
                )
                for group in optimizer.param_groups:
                    group["lr"] = rate
                with torch.autocast(device.type, torch.bfloat16, enabled=plan.precision == "bf16"):
                    loss = loss_of(model, batch)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                norm = torch.nn.utils.clip_grad_norm_(trainable, plan.max_grad_norm or math.inf)
                if not math.isfinite(loss.item()) or not math.isfinite(norm.item()):
                    raise not_finite(position.step, loss.item(), norm.item(), batch, checkpoints)
                optimizer.step()

                position.step += 1
                position.loss_sum += loss.item()
                num_tokens += int(batch.attention_mask.sum())
                if position.step % every == 0:
                    now = time.monotonic()
                    tokens_per_s = num_tokens / (now - spoke_at)
                    bar.update(position.step, {"loss": loss.item(), "lr": rate, "tokens/s": tokens_per_s})
                    figures = {"learning_rate": rate, "tokens_per_s": tokens_per_s, "grad_norm": norm.item()}
                    tracker.log_metrics({"loss": loss.item(), **figures}, step=position.step)
                    spoke_at, num_tokens = now, 0
                if time.monotonic() - saved_at > CHECKPOINT_INTERVAL_S:
                    save_checkpoint(checkpoints, position, model=model, optimizer=optimizer)
                    saved_at = time.monotonic()

            figures = validate(model)
            mean_loss = position.loss_sum / plan.num_steps_per_epoch
            position.epoch += 1
            position.loss_sum = 0.0
            position.history.append({"epoch": position.epoch, "train_loss": mean_loss, **figures})
            tracker.log_metrics({"epoch": position.epoch, "train_loss": mean_loss, **figures}, step=position.step)
            shown = {"train_loss": mean_loss, **figures}
            logger.info("epoch %d of %d  %s", position.epoch, plan.num_epochs, as_text(shown))
            if is_better(figures, position.best_value, plan.early_stopping):
                position.best_value = figures[key_of(plan.early_stopping)]
                position.best_epoch = position.epoch
                save_best(checkpoints, model)
            save_checkpoint(checkpoints, position, model=model, optimizer=optimizer)
            saved_at = spoke_at = time.monotonic()

    load_best(checkpoints, model)
    return position


def key_of(early_stopping: EarlyStopping) -> str:
    """The metric's name among the validation figures."""
    return f"validation_{early_stopping.metric}"


def is_better(figures: dict[str, float], best: float | None, early_stopping: EarlyStopping) -> bool:
    """Whether an epoch beats the best so far."""
    value = figures[key_of(early_stopping)]
    return best is None or (value < best if early_stopping.metric == "loss" else value > best)


def is_over(position: Position, early_stopping: EarlyStopping) -> bool:
    """Whether the best epoch lies `patience` epochs back."""
    return position.epoch - position.best_epoch >= early_stopping.patience and position.best_epoch > 0


def not_finite(step: int, loss: float, norm: float, batch: Batch, checkpoints: Path) -> TrainingError:
    """The error of a loss or gradient that overflowed."""
    kept = "the last good checkpoint is kept" if (checkpoints / "last").is_dir() else "no checkpoint was made yet"
    return TrainingError(
        f"the loss is {loss} and the gradient norm {norm} at step {step}, on rows {examples(batch.row.tolist())}; "
        f"{kept}. Lower optimizer.learning_rate or set max_grad_norm"
    )


def as_text(figures: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
