"""Which shapes of students are fast enough, told from a few that are timed as they will be served.

After ZipLM (Kurtic et al. 2023, arXiv:2302.04089): what a part of a network takes is measured on the machine that
serves it, since fewer operations are not as much less time. A student's time is taken as

    a call + layers x (a layer + heads x attention + feed_forward x products)

whose four numbers are fitted to the times of networks that are cut and not trained, by the relative error.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from torch import nn

from components.compress.measure import NUM_WARM_UP, Work, measure_rates
from components.compress.students.importance import NoScales
from components.compress.students.making import carving_of
from components.models.storage import load
from components.params import Shape


@dataclass(frozen=True)
class LatencyTable:
    """The speeds of the shapes that were timed, and what follows from them for others."""

    measured: Mapping[Shape, float]
    """The units per second, by shape; the whole network is among them."""
    num_layers: int
    """The layers of the whole network."""
    seconds: NDArray[np.float64]
    """The seconds of a call, a layer, all of its heads and all of its feed-forward units, (4,)."""

    def units_per_s(self, shape: Shape) -> float:
        """Return the units per second that a student of this shape will do; a low rank is left out of account."""
        return float(1 / (factors(shape, self.num_layers) @ self.seconds))

    def speedup(self, shape: Shape) -> float:
        """Return how many times as fast as the whole network, compressed in the same way, a student will be."""
        return self.units_per_s(shape) / self.units_per_s(WHOLE)


WHOLE = Shape(layers=None, feed_forward=1.0, heads=1.0, rank=None)


def time_shapes(
    teacher: Path, *, make_runner: Callable[[nn.Module], Any], items: Sequence[Any], work: Work
) -> LatencyTable:
    """Time networks cut out of the model in the folder `teacher`, in turns, and return the table.

    `make_runner` is a function of a network that returns what serves it, such as the predictor of its int8 graph.
    """
    carving, whole = carving_of(teacher), load(teacher)
    num_layers = carving.num_layers(whole)
    shapes = {str(number): shape for number, shape in enumerate(points(num_layers if carving.has_heads else None))}
    runners: dict[str, Any] = {}
    for name, shape in shapes.items():
        runners[name] = make_runner(carving.carved(load(teacher), carving.cut_of(shape, whole, NoScales())).eval())
        work(runners[name], items[:NUM_WARM_UP])
    rates = {name: float(np.median(found)) for name, found in measure_rates(runners, items, work).items()}
    measured = {shape: rates[name] for name, shape in shapes.items()}
    return LatencyTable(measured, num_layers, fitted(measured, num_layers))


def points(num_layers: int | None) -> list[Shape]:
    """Return the shapes that are timed: the whole network, and with fewer of each part; `num_layers` is None for a
    network of which neither layers nor heads go."""
    less = (
        {"feed_forward": [0.5, 0.25], "heads": [0.5], "layers": [max(1, num_layers // 2)]}
        if num_layers
        else {"feed_forward": [0.5, 0.25]}
    )
    return [WHOLE, *(WHOLE.model_copy(update={name: part}) for name, parts in less.items() for part in parts)]


def factors(shape: Shape, num_layers: int) -> NDArray[np.float64]:
    """Return how often a shape takes a call, a layer, a layer's heads and a layer's feed-forward units, (4,)."""
    layers = shape.layers or num_layers
    return np.array([1, layers, layers * shape.heads, layers * shape.feed_forward], np.float64)


def fitted(measured: Mapping[Shape, float], num_layers: int) -> NDArray[np.float64]:
    """Return the seconds of each part, (4,), none below 0, that come nearest to what was measured."""
    rates = np.array(list(measured.values()))
    rows = np.stack([factors(shape, num_layers) for shape in measured]) * rates[:, None]  # (shapes, 4)
    return nnls(rows, np.ones(len(rates)))[0].astype(np.float64)
