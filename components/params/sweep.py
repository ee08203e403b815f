"""The search for better settings of a recipe (`sweep`): what is tried, how it is drawn, and how far the search goes.

It is no stage, so DVC does not know it.
"""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from components.params.section import Positive, Section

Value = bool | int | float | str | None
Sampler = Literal["grid", "random", "tpe"]
MAX_TRIALS = 10_000


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


class Sweep(Section):
    """A search over settings. Trials are judged on the validation split alone."""

    space: Annotated[dict[str, Tried], Field(min_length=1)]
    """Paths below the recipe, such as `finetune.optimizer.learning_rate`, and for each what is tried there: a list of
    values, or a `Choice` or `Range`."""
    sampler: Sampler = "tpe"
    """How values are drawn: `grid` goes through all combinations, `random` draws each by itself, `tpe` (tree-structured
    Parzen estimator, Bergstra et al. 2011) draws near what was good."""
    pruner: Asha | None = None
    objective: Annotated[str, Field(pattern="^validation_[a-z0-9_]+$")] = "validation_loss"
    """The figure of the validation split to be improved, as the training's report names it. The test split is for the
    one comparison at the end."""
    direction: Literal["minimize", "maximize"] | None = None
    """By default a loss is minimized, and any other figure maximized."""
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

    @property
    def minimizes(self) -> bool:
        return self.direction == "minimize" if self.direction else "loss" in self.objective

    @model_validator(mode="after")
    def _has_a_grid(self) -> "Sweep":
        if self.sampler == "grid":
            for path, one in self.space.items():
                if isinstance(one, Range) and one.integer is None:
                    raise ValueError(f"space.{path}: a grid has no real numbers; give a list of values")
                if one.when:
                    raise ValueError(f"space.{path}: a grid goes through all combinations; take 'when' out")
        return self
