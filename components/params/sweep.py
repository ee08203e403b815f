"""The search for better settings of a recipe (`sweep`): what is tried, how it is drawn, and how far the search goes.

It is no stage, so DVC does not know it.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from components.params.schedule import RunSchedule
from components.params.section import Positive, Section

Value = bool | int | float | str | None
Sampler = Literal["grid", "random", "tpe"]
Direction = Literal["minimize", "maximize"]
MAX_TRIALS = 10_000
SIZE, SPEEDUP = "size_bytes", "speedup"
ON_VALIDATION = re.compile("validation_[a-z0-9_]+")
SPEED = re.compile(f"{SPEEDUP}|[a-z]+_per_s")
LOWER = re.compile("loss|perplexity|bits_per_byte|size_bytes")
"""What the name of a figure holds that is better where it is lower."""


class Condition(Section):
    """The settings that another one must have for a setting to be drawn; else it keeps its present value."""

    when: dict[str, Value | tuple[Value, ...]] | None = None
    """Paths below the recipe, and for each the value, or the values, that it must have."""


class Choice(Condition):
    """One of several values."""

    choices: Annotated[tuple[Value, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _differ(self) -> "Choice":
        if len({repr(value) for value in self.choices}) < len(self.choices):
            raise ValueError("choices has a value twice")
        return self


class Range(Condition):
    """A number between two ends, both of which may be drawn."""

    uniform: tuple[float, float] | None = None
    """Real numbers, each as likely as any other."""
    log: tuple[float, float] | None = None
    """Real numbers above 0, by their logarithm: as many between 1e-5 and 1e-4 as between 1e-4 and 1e-3."""
    integer: tuple[int, int] | None = None
    """Whole numbers."""

    @property
    def ends(self) -> tuple[float, float]:
        found = self.uniform or self.log or self.integer
        assert found is not None
        return found

    @model_validator(mode="after")
    def _is_one_range(self) -> "Range":
        given = [name for name in ("uniform", "log", "integer") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("takes one of choices, uniform, log and integer, such as {log: [1.0e-5, 1.0e-3]}")
        low, high = self.ends
        if not low < high:
            raise ValueError(f"{given[0]} goes from {low:g} to {high:g}; the first end must be the smaller one")
        if self.log and low <= 0:
            raise ValueError(f"log begins at {low:g}; a logarithm needs numbers above 0")
        return self


def kind_of(given: Any) -> str:
    """Return which of the ways to say what is tried was chosen."""
    if isinstance(given, list | tuple):
        return "list"
    is_choice = isinstance(given, Choice) or (isinstance(given, dict) and "choices" in given)
    return "choices" if is_choice else "range"


if TYPE_CHECKING:
    Tried = Choice | Range
else:
    Tried = Annotated[
        Annotated[
            tuple[Value, ...], Field(min_length=1), AfterValidator(lambda given: Choice(choices=given)), Tag("list")
        ]
        | Annotated[Choice, Tag("choices")]
        | Annotated[Range, Tag("range")],
        Discriminator(kind_of),
    ]


class Asha(Section):
    """Trials that are worse than most at the same epoch end early (asynchronous successive halving, Li et al. 2018,
    arXiv:1810.05934, decided between waves)."""

    name: Literal["asha"]
    first_epoch: Positive = 1
    """The epoch after which trials are compared first."""
    factor: Annotated[int, Field(ge=2)] = 3
    """One in so many goes on, and the next comparison is after so many times as many epochs."""


def a_figure(name: str) -> str:
    """Return the name of a figure that a trial may be judged by; ValueError where it is none."""
    if not (ON_VALIDATION.fullmatch(name) or SPEED.fullmatch(name) or name == SIZE):
        raise ValueError(
            f"'{name}' is no figure that trials are judged by: a figure of the validation split (validation_accuracy, "
            f"validation_loss), {SIZE}, {SPEEDUP} or rows_per_s; the test split is for the comparison at the end"
        )
    return name


Figure = Annotated[str, AfterValidator(a_figure)]


class Constraint(Section):
    """The least and the most that a figure may be."""

    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _can_be_kept(self) -> "Constraint":
        if self.min is None and self.max is None:
            raise ValueError("takes min, max or both, such as {max: 2.0e+6}")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}, so no trial could keep both")
        return self

    def miss(self, value: float) -> float:
        """Return by how much a value is beyond, as a share of the limit (of 1, where that is 0); 0 where it is
        within."""
        below = (self.min - value) / (abs(self.min) or 1.0) if self.min is not None else 0.0
        above = (value - self.max) / (abs(self.max) or 1.0) if self.max is not None else 0.0
        return max(0.0, below, above)


class Sweep(Section):
    """A search over settings. Trials are judged on the validation split alone."""

    space: Annotated[dict[str, Tried], Field(min_length=1)]
    """Paths below the recipe, such as `finetune.optimizer.learning_rate`, and for each what is tried there: a list of
    values, or a `Choice` or `Range`."""
    sampler: Sampler = "tpe"
    """How values are drawn: `grid` goes through all combinations, `random` draws each by itself, `tpe` (tree-structured
    Parzen estimator, Bergstra et al. 2011) draws near what was good."""
    pruner: Asha | None = None
    objective: Figure | Annotated[tuple[Figure, ...], Field(min_length=1)] = "validation_loss"
    """The figure to be improved, or several, the most important first: figures of the validation split as the report of
    the training names them, and of the int8 model that would be served `size_bytes`, and `rows_per_s` (by the task
    `tokens_per_s`, `samples_per_s`) or `speedup`. The test split is for the one comparison at the end."""
    direction: Direction | tuple[Direction, ...] | None = None
    """For each objective; by default a loss, a perplexity, bits per byte and a size are minimized, and any other figure
    maximized."""
    constraints: dict[Figure, Constraint] | None = None
    """What a trial must keep to be the best, such as `size_bytes: {max: 2.0e+6}`."""
    trials: Annotated[int, Field(ge=1, le=MAX_TRIALS)]
    """The most trials; the present settings are the first of them."""
    limit_s: Annotated[int, Field(ge=1)] | None = None
    """The most seconds of the whole search; what has begun by then is finished. Null for no limit."""
    wave: Positive = 4
    """Trials that are drawn at once, before any of them is known: so the same are drawn by any number of workers."""
    threads: Positive = 1
    """Threads of a trial; other numbers of them may give other weights in the last bits."""
    workers: Positive | None = None
    """Trials that run at the same time, each in a process of its own; null for as many as this machine has cores for.
    The trials are the same with any number."""
    seed: Annotated[int, Field(ge=0)] = 0
    schedule: RunSchedule | None = None
    """The times at which `modelyard worker` runs the sweep; null to run it by hand only. What it finds is told, and
    written into params.yaml by nobody but you."""

    @property
    def objectives(self) -> Sequence[str]:
        return (self.objective,) if isinstance(self.objective, str) else self.objective

    @property
    def directions(self) -> Sequence[Direction]:
        """The direction of each objective."""
        if self.direction is None:
            return tuple("minimize" if LOWER.search(name) else "maximize" for name in self.objectives)
        return (self.direction,) if isinstance(self.direction, str) else tuple(self.direction)

    @property
    def minimizes(self) -> bool:
        """Whether the first objective is minimized."""
        return self.directions[0] == "minimize"

    @property
    def followed(self) -> str:
        """The figure that is kept after each look at the validation split: the first objective that is of it."""
        return next((name for name in self.objectives if ON_VALIDATION.fullmatch(name)), "validation_loss")

    @property
    def minimizes_followed(self) -> bool:
        of_objectives = dict(zip(self.objectives, self.directions, strict=True))
        return of_objectives.get(self.followed, "minimize") == "minimize"

    @property
    def figures(self) -> tuple[str, ...]:
        """All figures that a trial is judged by."""
        return tuple(dict.fromkeys((*self.objectives, *(self.constraints or {}))))

    @property
    def is_timed(self) -> bool:
        return any(SPEED.fullmatch(name) for name in self.figures)

    @property
    def is_exported(self) -> bool:
        """Whether a trial is judged by the model that would be served of it."""
        return self.is_timed or SIZE in self.figures

    @model_validator(mode="after")
    def _has_objectives(self) -> "Sweep":
        if len(set(self.objectives)) < len(self.objectives):
            raise ValueError("objective has a figure twice")
        if len(self.directions) != len(self.objectives):
            raise ValueError(f"direction has {len(self.directions)} entries for {len(self.objectives)} objectives")
        if self.pruner and (len(self.objectives) > 1 or self.constraints or self.followed != self.objectives[0]):
            raise ValueError(
                "pruner ends trials by one figure while they train, but with several objectives, constraints, a size "
                "or a speed what is good is known at the end only; take it out"
            )
        return self

    @model_validator(mode="after")
    def _has_a_grid(self) -> "Sweep":
        if self.sampler == "grid":
            for path, one in self.space.items():
                if isinstance(one, Range) and one.integer is None:
                    raise ValueError(f"space.{path}: a grid has no real numbers; give a list of values")
                if one.when:
                    raise ValueError(f"space.{path}: a grid goes through all combinations; take 'when' out")
        return self
