"""The interface between the champion gate and a task: a `Duel`, made by the task's `make_duel(data, metric=...)`.

A runner is the predictor of serving/ around a bundle, as it is served. A duel knows the held-out rows, how a runner
processes them, and by how much one runner's answers are worse than another's. Each runner answers them once, with
however many others it is compared.
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
    """The paths of the challenger's own test split, on which neither version was trained, and of the files that belong
    to it."""

    test: Path
    predictor: Path
    """The folder `predictor/` of preprocess."""
    results: Path
    """The folder `results/` of evaluate."""


@dataclass(frozen=True)
class SliceDrop:
    """The accuracy of both versions on some of the rows."""

    num_rows: int
    champion: float
    challenger: float

    @property
    def drop(self) -> float:
        return self.champion - self.challenger


@dataclass(frozen=True)
class Comparison:
    """The figures of both versions on the same rows; a drop above 0 means that the challenger is worse."""

    judged: str
    """The part of the test split that was compared, in words that follow `on`."""
    champion: float
    challenger: float
    drop: float
    drop_low: float
    drop_high: float
    slices: Mapping[str, SliceDrop] = field(default_factory=dict[str, SliceDrop])
    """The drop on some of the rows, by a name such as `label negative` or `slice books`."""


class Duel(Protocol[Runner]):
    """A task's part in the champion gate."""

    @property
    def metric(self) -> str:
        """The name of the quality metric."""
        ...

    @property
    def unit(self) -> str:
        """The name of one item: row, prompt or sample."""
        ...

    @property
    def indifference(self) -> float:
        """The drop that nobody would notice, in the units of `Comparison.drop`, where a recipe names none."""
        ...

    @property
    def items(self) -> Sequence[Any]:
        """The single pieces of work that are timed."""
        ...

    def load(self, bundle: Path, *, threads: int) -> Runner:
        """Return the runner that serves a bundle."""
        ...

    def work(self, runner: Runner, items: Sequence[Any]) -> int:
        """Process the items from input to answer; return their number in units."""
        ...

    def answers(self, runner: Runner) -> Any:
        """Return what the runner makes of all held-out rows."""
        ...

    def compare(self, champion: Any, challenger: Any, *, bootstrap: Bootstrap) -> Comparison:
        """Compare the `answers` of two versions."""
        ...


def paired(
    champion: Statistic, challenger: Statistic, name: str, *, num_rows: int, bootstrap: Bootstrap, sign: float
) -> tuple[float, float, NDArray[np.float64]]:
    """Return both versions' figures of the metric `name`, and the drop with the ends of its interval, (3,).

    The interval is a paired bootstrap percentile interval. `sign` is 1 where a higher figure is better, else -1.
    """

    def statistic(weights: Weights) -> Figures:
        ours, theirs = champion(weights)[name], challenger(weights)[name]
        return {"champion": ours, "challenger": theirs, DROP: sign * (ours - theirs)}

    found = intervals(statistic, num_rows=num_rows, bootstrap=bootstrap)
    return float(found["champion"][0]), float(found["challenger"][0]), found[DROP]
