"""The shapes of the students that are tried: those of the recipe, then those that a sampler draws by what it was told.

A student is told by the first candidate that is made of it: how much of the quality it loses on the validation split,
and its bytes. Neither is a time, so the same recipe draws the same shapes, however busy the machine is; only where the
budget in time ends the search depends on it.
"""

import logging
import time
import warnings
from collections.abc import Callable, Iterator

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution

from components.params import Shape, ShapeSearch, Students

logger = logging.getLogger(__name__)

NUM_RANDOM = 3  # shapes that are drawn at random before the sampler has seen enough
MAX_DRAWS = 50  # for a shape that is not among those that were tried
SETTINGS = ("layers", "feed_forward", "heads", "rank")


class ShapesToTry:
    """The shapes in their order, one at a time: each is to be told before the next is asked for."""

    def __init__(self, students: Students, *, may_reach: Callable[[Shape], bool] | None = None) -> None:
        """`may_reach` tells whether a shape may keep the limits of speed: one that cannot is not drawn."""
        self.students, self.search, self.may_reach = students, students.search, may_reach
        self.told: list[tuple[Shape, tuple[float, float]]] = []
        self.started = time.monotonic()
        self.longest_s = 0.0
        """The seconds that a student took at most so far."""

    def __len__(self) -> int:
        """Return the most shapes that there may be."""
        return len(self.students.shapes) + (self.search.trials if self.search else 0)

    def __iter__(self) -> Iterator[Shape]:
        yield from self.students.shapes
        if self.search is None:
            return
        for number in range(self.search.trials):
            if self.is_over(self.search):
                logger.info("the budget of %g minutes is used up after %d students", self.search.minutes, number)
                return
            shape = self.draw(self.search, number)
            if shape is None:
                logger.info("the search finds no further shape that is new and may be fast enough")
                return
            yield shape

    def tell(self, shape: Shape, *, drop: float, size_bytes: float, took_s: float) -> None:
        """Note what became of a shape: the loss of quality, the bytes, and the seconds that it took."""
        self.told.append((shape, (drop, size_bytes)))
        self.longest_s = max(self.longest_s, took_s)

    def is_over(self, search: ShapeSearch) -> bool:
        """Return whether another student would most likely end after the budget of time."""
        spent_s = time.monotonic() - self.started
        return search.minutes is not None and spent_s + self.longest_s > 60 * search.minutes

    def draw(self, search: ShapeSearch, number: int) -> Shape | None:
        """Return a shape that was not tried yet and may be fast enough; None where MAX_DRAWS found none."""
        space: dict[str, BaseDistribution] = {}
        for name in SETTINGS:
            if values := values_of(search, name):
                space[name] = CategoricalDistribution(list(values))
        tried = [shape for shape, _ in self.told]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study = self.study(search, space, seed=search.seed + number)
            for _ in range(MAX_DRAWS):
                shape = shape_of(study.ask(space).params)
                if shape not in tried and (self.may_reach is None or self.may_reach(shape)):
                    return shape
        return None

    def study(self, search: ShapeSearch, space: dict[str, BaseDistribution], *, seed: int) -> optuna.Study:
        """Return a study in memory that knows what was told of shapes of this space."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(
            directions=["minimize", "minimize"],
            sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=NUM_RANDOM, multivariate=True),
        )
        for shape, values in self.told:
            params = {name: getattr(shape, name) for name in space}
            is_inside = search.layers is not None or shape.layers is None
            if is_inside and all(value in values_of(search, name) for name, value in params.items()):
                study.add_trial(optuna.trial.create_trial(params=params, distributions=space, values=list(values)))
        return study


def values_of(search: ShapeSearch, name: str) -> tuple[int | float | None, ...]:
    return getattr(search, name) or ()


def shape_of(params: dict[str, int | float | None]) -> Shape:
    """Return the shape of a draw; what is not drawn stays as it is in the trained network."""
    return Shape.model_validate({"layers": None, **params})
