"""The one training loop: steps in turn, checkpoints, looks at the validation split, and figures while it runs."""

import logging
import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import torch
from torch import nn

from components.plumbing.errors import TrainingError
from components.plumbing.progress import Bar, Figure, UnseenBar, progress
from components.tracking.tracker import Tracker
from components.training.checkpoint import Position, has_checkpoint, load_best, load_checkpoint
from components.training.copies import copied_ahead
from components.training.dropping import fast_masks
from components.training.objective import Batch, Objective
from components.training.phases import drawn
from components.training.plan import Plan
from components.training.ranks import ALONE, Ranks
from components.training.saving import Saver
from components.training.seats import BadStepError, Seat, own, remember
from components.training.stopping import is_better, is_over, key_of, left_out, not_finite, stopped
from components.training.utilisation import Utilisation

logger = logging.getLogger(__name__)

CHECKPOINT_INTERVAL_S = 60.0
POINTS_OF_A_CURVE = 200
SHOWN_EVERY_S = 1.0
"""The seconds after which the terminal tells the figures of a step between two points of the curves."""


def train(
    model: nn.Module, plan: Plan, objective: Objective, optimizers: Sequence[torch.optim.Optimizer], *,
    checkpoints: Path, tracker: Tracker, title: str, utilisation: Utilisation | None = None,
    course: "Callable[..., Course] | None" = None, ranks: Ranks = ALONE,
) -> Position:  # fmt: skip
    """Train `model` in place, and leave it with the weights of the best look, or of the end without early stopping.

    The objective's players take their steps in turn on each batch, each with its own of the `optimizers`, which are in
    their order. A checkpoint in `checkpoints` is carried on from, and gives the same weights as a training that was
    never stopped. `utilisation` is for the figures that are told, and `course` makes the training under way, where it
    is another kind of Course.

    Raise TrainingError where a loss, the gradients or a look's figures are not finite, or where a loss explodes, and
    DiskFullError where a checkpoint cannot be written; the last one stays. Raise InputError where the metric of early
    stopping is not measured, or where a newer version of Modelyard wrote the checkpoint.
    """
    seats = [Seat(player, its, ranks) for player, its in zip(objective.players, optimizers, strict=True)]
    position = load_checkpoint(checkpoints, model=model, optimizers=optimizers, ranks=ranks) or Position()
    position.precision, position.num_threads, position.num_ranks = plan.precision, torch.get_num_threads(), ranks.size
    if position.step:
        logger.info("carrying on from step %d of %d", position.step, plan.num_steps)
    saving = Saver(checkpoints, keep=plan.checkpoints.keep, ranks=ranks)
    dropping = fast_masks() if plan.fast_dropout else nullcontext()
    shown = progress(title, total=plan.num_steps, done=position.step) if ranks.is_first else nullcontext(UnseenBar())
    with shown as bar, saving as saver, dropping:
        under_way = (course or Course)(
            model, plan, objective, seats, position, checkpoints, saver, tracker, bar, utilisation, ranks
        )  # fmt: skip
        if plan.on_spike and not ranks.first_does(lambda: has_checkpoint(checkpoints)):
            under_way.save()
        while position.epoch < plan.num_epochs and not is_over(position, plan.early_stopping):
            under_way.go_to_next_look()
            under_way.look()
    if plan.early_stopping:
        load_best(checkpoints, position, model, ranks=ranks)
    else:
        position.best_epoch, position.best_look = position.epoch, len(position.history)
    return position


@dataclass
class Course:
    """A training under way."""

    model: nn.Module
    plan: Plan
    objective: Objective
    seats: Sequence[Seat]
    position: Position
    checkpoints: Path
    saver: Saver
    tracker: Tracker
    bar: Bar
    utilisation: Utilisation | None = None
    ranks: Ranks = ALONE
    saved_at: float = field(default_factory=time.monotonic)
    """When the last checkpoint was made, on the clock of time.monotonic."""
    spoke_at: float = field(default_factory=time.monotonic)
    """When the figures were last told to the tracker."""
    num_units: int = 0
    """The number of tokens or rows since then."""
    shown_at: float = field(default_factory=time.monotonic)
    """When the terminal was last told figures."""
    has_no_room: bool = True
    """Whether no step was taken yet, after which the memory for the copies of checkpoints can be taken."""
    told: int = 0
    """The number of the last step whose figures were told; a step that is taken again is not told again."""

    def __post_init__(self) -> None:
        self.everything = [p for p in self.model.parameters() if p.requires_grad]
        self.steps_between_points = max(1, self.plan.num_steps // POINTS_OF_A_CURVE)

    def go_to_next_look(self) -> None:
        """Take the steps up to the next look at the validation split."""
        while not self.takes_steps():
            logger.info("step %d of %d is taken again", self.position.step + 1, self.plan.num_steps)
        own(self.everything, self.everything)

    def takes_steps(self) -> bool:
        """Take the steps up to the next look; return False where a bad one took the training back before its end."""
        plan, position = self.plan, self.position
        first, _, look_at = next_look(position, plan)
        self.model.train()
        batches = self.objective.batches(position.epoch, position.step - first)
        # The rest of an epoch is gone through to its end, though no step may be left of it.
        is_rest = look_at == first + plan.num_steps_per_epoch
        wanted = islice(batches, None if is_rest else look_at - position.step)
        for batch in drawn(copied_ahead(wanted, next(self.model.parameters()).device)):
            self.saver.check()
            if position.step + 1 in position.left_out:
                position.step += 1
                continue
            seen = self.step(batch)
            if seen is None:
                return False
            position.step += 1
            if self.has_no_room:
                self.saver.make_room(model=self.model, optimizers=[seat.optimizer for seat in self.seats])
                self.has_no_room = False
            self.num_units += batch.num_units
            if position.step % self.steps_between_points == 0:
                self.speak(seen)
            elif time.monotonic() - self.shown_at > SHOWN_EVERY_S:
                self.show(seen)
            if self.is_checkpoint_due():
                self.save()
        return True

    def is_checkpoint_due(self) -> bool:
        """Return whether a checkpoint is to be made between two looks."""
        settings = self.plan.checkpoints
        if settings.every_steps:
            return self.position.step % settings.every_steps == 0
        interval_s = CHECKPOINT_INTERVAL_S if settings.interval_s is None else settings.interval_s
        return self.ranks.first_does(lambda: time.monotonic() - self.saved_at > interval_s)

    def step(self, batch: Batch) -> dict[str, float] | None:
        """Have each player take its step on a batch; return their figures, or None where it was a bad one, and the
        training was taken back."""
        seen: dict[str, float] = {}
        self.objective.before_step(self.model)
        for seat in self.seats:
            if len(self.seats) > 1:
                own(self.everything, seat.trained)
            try:
                figures = seat.step(self.model, batch, plan=self.plan, position=self.position)
            except BadStepError as error:
                self.go_back(error, seat, batch)
                return None
            remember(self.position, seat.player.name, figures["loss"])
            seen |= {f"{seat.prefix}{name}": value for name, value in figures.items()}
        return seen

    def go_back(self, error: BadStepError, seat: Seat, batch: Batch) -> None:
        """Take the training back to its last checkpoint, from which it goes on without the batch of this bad step.

        Raise TrainingError where it is to stop instead.
        """
        self.saver.wait()
        step, settings = self.position.step + 1, self.plan.on_spike
        if settings is None or len(self.position.left_out) >= settings.rollback:
            if not self.ranks.is_first:
                raise TrainingError(str(error)) from error
            raise stopped(error, seat, batch, self.plan, self.position, self.checkpoints, self.tracker) from error
        optimizers = [seat.optimizer for seat in self.seats]
        found = load_checkpoint(self.checkpoints, model=self.model, optimizers=optimizers, ranks=self.ranks)
        assert found is not None, "a training that may be taken back begins with a checkpoint"
        if self.ranks.is_first:
            left = left_out(error, seat, batch, step=step, checkpoints=self.checkpoints, tracker=self.tracker)
            logger.warning("%s at step %d: back to step %d; the batch is left out (%s)", error, step, found.step, left)
        vars(self.position).update(vars(found))
        self.position.left_out.append(step)
        self.save()

    def speak(self, seen: dict[str, float]) -> None:
        """Tell the tracker and the terminal the figures of a step."""
        if self.position.step <= self.told:
            return
        self.told = self.position.step
        self.tracker.log_metrics(seen | self.show(seen), step=self.position.step)
        self.spoke_at, self.num_units = self.shown_at, 0

    def show(self, seen: dict[str, float]) -> dict[str, float]:
        """Tell the terminal the figures of a step; return those of the speed since the last point of the curves."""
        self.shown_at = time.monotonic()
        rate = self.num_units / (self.shown_at - self.spoke_at)
        mfu = {"mfu": self.utilisation.at(rate)} if self.utilisation else {}
        self.bar.update(self.position.step, brief(seen, self.seats) | {f"{self.plan.unit}/s": rate} | mfu)
        return {f"{self.plan.unit}_per_s": rate} | mfu

    def look(self) -> None:
        """Measure the model on the validation split, keep the best, and make a checkpoint."""
        plan, position = self.plan, self.position
        _, looked_at, _ = next_look(position, plan)
        num_left_out = sum(step > looked_at for step in position.left_out)
        figures = mean_losses(position, self.seats, position.step - looked_at - num_left_out)
        measured = self.objective.validate(self.model)
        figures |= self.ranks.first_does(lambda: measured)  # of which decisions hang, which are to be the same
        if plan.on_spike:
            figures["num_left_out"] = len(position.left_out)
        if not all(map(math.isfinite, figures.values())):
            self.saver.wait()
            raise not_finite(figures, position, plan, self.checkpoints)
        position.epoch, steps_into_next = divmod(position.step, plan.num_steps_per_epoch)
        epochs = position.epoch
        if steps_into_next:
            epochs += round(steps_into_next / plan.num_steps_per_epoch, 3)
        position.looked_at, position.loss_sum = position.step, {}
        position.history.append({"epoch": epochs, **figures})
        self.tracker.log_metrics(position.history[-1], step=position.step)
        reached = f"epoch {epochs:g} of {plan.num_epochs}  {as_text(figures)}"
        logger.info(reached)
        self.bar.milestone(reached)
        if plan.early_stopping and is_better(figures, position.best_value, plan.early_stopping):
            position.best_value = figures[key_of(plan.early_stopping)]
            position.best_epoch, position.best_look = math.ceil(epochs), len(position.history)
            position.best_step = position.step
        self.save()
        self.spoke_at, self.num_units = time.monotonic(), 0

    def save(self) -> None:
        """Make a checkpoint, of a time up to which all points of the curves are sent."""
        self.tracker.flush()
        self.saver.save(self.position, model=self.model, optimizers=[seat.optimizer for seat in self.seats])
        self.saved_at = time.monotonic()


def next_look(position: Position, plan: Plan) -> tuple[int, int, int]:
    """Return, in steps of the whole training, where the running epoch begins, where its last look was (its beginning
    where there was none yet), and where the next is due."""
    first = position.epoch * plan.num_steps_per_epoch
    looked_at = max(position.looked_at, first)
    return first, looked_at, min(looked_at + plan.steps_between_looks, first + plan.num_steps_per_epoch)


def mean_losses(position: Position, seats: Sequence[Seat], num_steps: int) -> dict[str, float]:
    """Return the `train_loss` of `num_steps` steps, the sum of the players' mean losses; with several players also each
    mean."""
    sums = {f"{seat.prefix}train_loss": position.loss_sum.get(seat.player.name, math.nan) for seat in seats}
    means = {name: total / max(1, num_steps) for name, total in sums.items()}  # NaN where all of them were left out
    return {"train_loss": sum(means.values())} | means


def brief(seen: dict[str, float], seats: Sequence[Seat]) -> dict[str, Figure]:
    """Return the figures that the progress bar tells: the loss, the learning rate and the norm of the gradients, of
    several players one of each in their order."""
    names = {"loss": "loss", "lr": "learning_rate", "norm": "grad_norm"}
    values = {short: tuple(seen[f"{seat.prefix}{name}"] for seat in seats) for short, name in names.items()}
    return dict(values)


def as_text(figures: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
