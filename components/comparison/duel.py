"""What the champion gate asks of a task: a `Duel`, made by `make_duel(data, metric=...)` of the module of its name.

A runner is the predictor of serving/ around a bundle, as it is served. A duel knows the held-out rows, how a runner
works on them, and how much worse one runner's answers are than another's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from components.evaluate.bootstrap import intervals
from components.evaluate.classification.metrics import Figures, Statistic, Weights
from components.params import Bootstrap

Runner = TypeVar("Runner")
DROP = "drop"


@dataclass(frozen=True)
class HeldOut:
    """Where the rows are that neither was trained on: the challenger's own test split, and what goes with it."""

    test: Path
    predictor: Path
    """preprocess's `predictor/`."""
    results: Path
    """evaluate's `results/`."""


@dataclass(frozen=True)
class SliceDrop:
    """Some of the rows."""

    num_rows: int
    champion: float
    challenger: float

    @property
    def drop(self) -> float:
        return self.champion - self.challenger


@dataclass(frozen=True)
class Comparison:
    """Both on the same rows; a drop above 0 means that the challenger is worse."""

    judged: str
    """What of the test split, in words that follow `on`."""
    champion: float
    challenger: float
    drop: float
    drop_low: float
    drop_high: float
    slices: Mapping[str, SliceDrop] = field(default_factory=dict[str, SliceDrop])
    """By name: `label negative`, `slice books`."""


class Duel(Protocol[Runner]):
    """A task's side of the gate."""

    @property
    def metric(self) -> str:
        """The name of the quality."""
        ...

    @property
    def unit(self) -> str:
        """What one item is: row, prompt, sample."""
        ...

    @property
    def items(self) -> Sequence[Any]:
        """Single pieces of work that are timed."""
        ...

    def load(self, bundle: Path, *, threads: int) -> Runner:
        """What serves a bundle."""
        ...

    def work(self, runner: Runner, items: Sequence[Any]) -> int:
        """Do these items, whole path; gives how many units that were."""
        ...

    def compare(self, champion: Runner, challenger: Runner, *, bootstrap: Bootstrap) -> Comparison:
        """Both on all of the held-out rows."""
        ...


def paired(
    champion: Statistic, challenger: Statistic, name: str, *, num_rows: int, bootstrap: Bootstrap, sign: float
) -> tuple[float, float, NDArray[np.float64]]:
    """Both figures, and the drop with the ends of its interval, (3,); `sign` is 1 where more is better, else -1."""

    def statistic(weights: Weights) -> Figures:
        ours, theirs = champion(weights)[name], challenger(weights)[name]
        return {"champion": ours, "challenger": theirs, DROP: sign * (ours - theirs)}

    found = intervals(statistic, num_rows=num_rows, bootstrap=bootstrap)
    return float(found["champion"][0]), float(found["challenger"][0]), found[DROP]
