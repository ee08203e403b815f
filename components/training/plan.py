"""The plan of a training: its settings, with what follows from them and from the number of rows."""

from dataclasses import dataclass, field
from typing import Literal

from components.params import Checkpoints, Clip, EarlyStopping, Optimizer, Rollback, Schedule, Training
from components.training.objective import Objective
from components.training.precision import Precision


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
    checkpoints: Checkpoints = field(default_factory=Checkpoints)
    on_spike: Rollback | None = None
    micro_batch_size: int | None = None
    fast_dropout: bool = False
    optimizers: tuple[Optimizer, ...] = ()
    """The settings of the players' optimizers, in their order, by which a step is foretold."""

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
        checkpoints=params.checkpoints or Checkpoints(),
        on_spike=params.on_spike,
        micro_batch_size=params.micro_batch_size,
        fast_dropout=params.fast_dropout,
        optimizers=tuple(params.optimizer_of(player.name) for player in objective.players),
    )
