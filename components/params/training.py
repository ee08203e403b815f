"""The settings of the training loop, which pretrain and finetune share."""

from typing import Annotated, Literal

from pydantic import Field, PlainValidator, model_validator

from components.params.section import Positive, Section

Decay = Annotated[float, Field(ge=0, lt=1)]


class Optimizer(Section):
    name: Literal["adamw", "adam", "sgd", "rmsprop"]
    learning_rate: Annotated[float, Field(gt=0)]
    """The highest learning rate of the schedule."""
    weight_decay: Annotated[float, Field(ge=0)]
    momentum: Decay | None = None
    """The momentum; for sgd and rmsprop only."""
    betas: tuple[Decay, Decay] | None = None
    """The two decays of the running means; for adam and adamw only."""

    @model_validator(mode="after")
    def _takes_effect(self) -> "Optimizer":
        adaptive = self.name in ("adam", "adamw")
        if adaptive != (self.betas is not None) or adaptive != (self.momentum is None):
            raise ValueError(f"{self.name} takes {'betas and no momentum' if adaptive else 'momentum and no betas'}")
        return self


class Schedule(Section):
    name: Literal["constant", "linear", "cosine", "one_cycle"]
    """The shape of the learning rate after warm-up; one_cycle is that of Smith 2018, with cosines up and down."""
    warmup_share: Annotated[float, Field(ge=0, lt=1)]
    """The share of all steps in which the learning rate warms up; for one_cycle, the share in which it rises."""

    @model_validator(mode="after")
    def _rises(self) -> "Schedule":
        if self.name == "one_cycle" and not self.warmup_share:
            raise ValueError("one_cycle rises before it falls: warmup_share must be above 0 (0.3 is usual)")
        return self


class Clip(Section):
    """The clipping of gradients, which keeps one step from going too far."""

    by: Literal["norm", "value"]
    """The way of clipping: norm scales all gradients together; value cuts off each number on its own."""
    limit: Annotated[float, Field(gt=0)]


class EarlyStopping(Section):
    metric: Literal["accuracy", "f1_macro", "loss"]
    """The metric measured on the validation split after each epoch, or more often; the weights of the best look are
    kept."""
    patience: Positive
    """The number of looks without a better value after which training stops."""
    every: Positive | None = None
    """The number of steps from one look at the validation split to the next within an epoch; there is always one at its
    end, and without this setting no other."""


class Checkpoints(Section):
    """The checkpoints of a training, from which the next run carries on. There is always one after each look."""

    keep: Positive = 1
    """The number of checkpoints that are kept, the last ones; the one of the best look is kept besides."""
    interval_s: Annotated[float, Field(ge=0)] | None = None
    """The seconds from one checkpoint to the next between two looks; 60 where neither this nor every_steps is set."""
    every_steps: Positive | None = None
    """The number of steps from one checkpoint to the next between two looks, instead of seconds."""

    @model_validator(mode="after")
    def _one_of_two(self) -> "Checkpoints":
        if self.interval_s is not None and self.every_steps is not None:
            raise ValueError("set interval_s or every_steps, not both")
        return self


class Rollback(Section):
    """The way back to a checkpoint where a loss or a gradient is not finite, or a loss explodes, in place of an end."""

    rollback: Positive
    """The most batches that are left out, each after a way back to the last checkpoint; then the training stops."""


def rows_or_full(value: object) -> object:
    """Return a batch size that is valid, a whole number from 1 or `full`, unchanged; else raise ValueError.

    Pydantic's union would give one error for each of the two types.
    """
    if value == "full" or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise ValueError("it must be a number of rows, 1 or more, or 'full'")


class Training(Section):
    """The settings that every training has."""

    seed: Annotated[int, Field(ge=0)]
    epochs: Positive
    steps_per_epoch: Positive | None
    """The number of batches in an epoch, drawn at random, which gives an epoch any length; null takes every row
    once."""
    batch_size: Annotated[int | Literal["full"], PlainValidator(rows_or_full)]
    """The number of rows in one step; full takes all of them."""
    micro_batch_size: Positive | None = None
    """The number of rows that are computed at once; the gradients of a batch's parts add up to those of the whole, so
    that a step is the same and takes less memory. Without it, a batch is computed at once."""
    activation_checkpointing: bool = False
    """True to keep of each layer only its input, and to compute the rest again in the backward pass: the same weights
    for less memory and more time."""
    fast_dropout: bool = False
    """True to draw dropout's masks on a CPU four at a time; the weights are others than with torch's own draws."""
    precision: Literal["auto", "fp32", "bf16"]
    """The precision of matrix products; auto measures whether bf16 is faster on this machine."""
    optimizer: Optimizer
    schedule: Schedule
    clip: Clip | None
    """The clipping of gradients; null for none."""
    early_stopping: EarlyStopping | None
    """The rule that ends training early; null runs every epoch and keeps the weights of the last."""
    checkpoints: Checkpoints | None = None
    """When checkpoints are made, and how many are kept; null for one each minute, and the last one kept."""
    on_spike: Rollback | None = None
    """What is done about a loss that explodes or is not finite; null stops the training with the rows of the batch."""

    def optimizer_of(self, player: str) -> Optimizer:
        """Return the settings of the optimizer of a part of the model that trains on its own, by its name; they are the
        training's own, unless the objective has others for it."""
        del player
        return self.optimizer

    @model_validator(mode="after")
    def _divides(self) -> "Training":
        whole, part = self.batch_size, self.micro_batch_size
        if whole == "full" or part is None:
            return self
        if part > whole:
            raise ValueError(f"micro_batch_size {part} is larger than batch_size {whole}; it is a part of it")
        if whole % part:
            below = max(n for n in range(1, part) if not whole % n)
            above = min(n for n in range(part, whole + 1) if not whole % n)
            raise ValueError(
                f"batch_size {whole} does not divide by micro_batch_size {part}; set the latter to {below} or {above}"
            )
        return self
