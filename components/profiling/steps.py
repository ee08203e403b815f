"""The steps of a training that are watched: the loop's own, some timed, and as many recorded by torch's profiler.

A profiler slows small operations down, so times come from steps without it. Nothing of the training is kept.
"""

import tempfile
import time
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, schedule

from components.fitting import Begun
from components.params import Training
from components.tracking.tracker import NullTracker
from components.training.loop import Course, train
from components.training.objective import Batch
from components.training.optimizers import build_optimizer

NUM_WARM_UP = 3
"""The first steps, which are not counted: kernels are chosen, and the optimizer makes its state."""


class Enough(Exception):
    """The end of the watched steps, in the middle of the training."""


@dataclass
class Watch:
    """The watch over a training's steps, with the times and sizes of those so far."""

    num_steps: int
    """The number of steps to time, and of those to record."""
    profiler: Any
    ended_at: list[float] = field(default_factory=list[float])
    """When each step that is not a warm-up's ended, beginning with the last of the warm-up."""
    num_units: list[int] = field(default_factory=list[int])
    """The tokens or rows of each timed step."""
    num_seen: int = 0

    def after(self, batch: Batch) -> None:
        """Take note of a step that has just ended; raise Enough after the last."""
        wait(self.profiler)
        self.num_seen += 1
        number = self.num_seen - NUM_WARM_UP
        if 0 <= number <= self.num_steps:
            self.ended_at.append(time.perf_counter())
            self.num_units += [batch.num_units] if number else []
        if number == self.num_steps:
            self.profiler.start()
        elif number > self.num_steps:
            self.profiler.step()
            if number == 2 * self.num_steps + 1:  # one more: the profiler's own warm-up
                raise Enough

    @property
    def seconds(self) -> float:
        """The seconds of the timed steps."""
        return self.ended_at[-1] - self.ended_at[0]


def wait(profiler: Any) -> None:
    """Wait for the device to finish what it was given."""
    if ProfilerActivity.CUDA in profiler.activities:
        torch.cuda.synchronize()


@dataclass
class Watched(Course):
    """A training under way whose steps are watched, and which measures nothing on the validation split."""

    watch: Watch | None = None

    def step(self, batch: Batch) -> Any:
        seen = super().step(batch)
        assert self.watch is not None
        self.watch.after(batch)
        return seen

    def look(self) -> None:
        """Go on where a look would be due."""
        position = self.position
        position.epoch = position.step // self.plan.num_steps_per_epoch
        position.looked_at, position.loss_sum = position.step, {}
        if position.epoch == self.plan.num_epochs:
            raise Enough

    def save(self) -> None:
        """Make no checkpoint."""
        self.saved_at = time.monotonic()


def watched_steps(begun: Begun, params: Training, *, num_steps: int, title: str) -> Watch:
    """Take the first steps of a training with these settings, and return what was seen of them."""
    activities = [ProfilerActivity.CPU]
    if begun.machine.device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    recorded = schedule(wait=0, warmup=1, active=num_steps, repeat=1)
    watch = Watch(num_steps, profile(activities=activities, schedule=recorded))
    plan = replace(begun.plan, on_spike=None)  # there is no checkpoint to go back to
    optimizers = [build_optimizer(params.optimizer_of(one.name), one.parameters) for one in begun.objective.players]
    with tempfile.TemporaryDirectory(prefix="modelyard-profile-") as folder:
        try:
            train(
                begun.model, plan, begun.objective, optimizers, checkpoints=Path(folder), tracker=NullTracker(),
                title=title, course=partial(Watched, watch=watch),
            )  # fmt: skip
        except Enough:
            pass
    return watch


def num_possible(begun: Begun, *, wanted: int) -> int:
    """Return how many steps can be timed, and as many recorded, of a training that has so few; 0 where none can."""
    return min(wanted, (begun.plan.num_steps - NUM_WARM_UP - 1) // 2)
