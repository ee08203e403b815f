"""Whether an explanation is faithful: what is left of a score without the parts that it calls strongest, or with those
alone (DeYoung et al. 2020, ERASER, arXiv:1911.03429).

The parts of a row are taken away, or kept, in the order of an explanation, in SHARES of their number. Comprehensiveness
is the score that is lost without the first parts, sufficiency what is missing with them alone, each the mean over
SHARES: the area over the perturbation curve.

Both are normalised by the room of the row: the score of the whole row minus that of the row without any part (after
Carton et al. 2020, arXiv:2010.04736). So as not to divide by the small room of a single row, the sums over rows are
divided. A comprehensiveness of 1 says that all of the room is lost; the sufficiency is told as the share of the room
that the first parts alone give back, so that more is better in both.

Legend: N rows, P parts of a row, F shares, S resamples.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from components.evaluate.bootstrap import Figures, Statistic, Weights

Row = TypeVar("Row")
Order = NDArray[np.int64]
"""The numbers of a row's parts, the one that speaks the most for the label first, (P,)."""

SHARES = (0.01, 0.05, 0.1, 0.2, 0.5)
RANDOM = "random"
NUM_RANDOM = 5
"""Random orders of each row, whose mean is the control."""
KINDS = ("comprehensiveness", "sufficiency")


@dataclass(frozen=True)
class Parted(Generic[Row]):
    """A row that can be asked about without some of its parts."""

    label_id: int
    """The label whose score is watched: the answer for the whole row."""
    num_parts: int
    keep: Callable[[NDArray[np.bool_]], Row]
    """A function of which parts are kept, (P,), that returns the row with those alone."""


@dataclass(frozen=True)
class Perturbed:
    """The score of a row with and without the first parts of each order."""

    whole: float
    empty: float
    without: dict[str, NDArray[np.float64]]
    """By order, the scores without the first parts, (F,)."""
    alone: dict[str, NDArray[np.float64]]
    """By order, the scores with the first parts alone, (F,)."""


def order_of(effects: NDArray[np.float64]) -> Order:
    """Return the parts by falling effect; those of equal effect as they stand in the row."""
    return np.argsort(-effects, kind="stable")


def random_orders(num_parts: int, *, seed: int) -> dict[str, Order]:
    random = np.random.default_rng(seed)
    return {f"{RANDOM} {number}": random.permutation(num_parts) for number in range(NUM_RANDOM)}


def perturb(
    predict: Callable[[Sequence[Row]], NDArray[np.float32]], row: Parted[Row], orders: Mapping[str, Order]
) -> Perturbed:
    """Ask for the scores of a row with and without the first parts of each order, each choice of parts once.

    Orders named `random …` are told by their mean, as `random`.
    """
    counts = [math.ceil(share * row.num_parts) for share in SHARES]
    choices: dict[bytes, NDArray[np.bool_]] = {}

    def ask(first: Order) -> tuple[bytes, bytes]:
        kept = np.zeros(row.num_parts, np.bool_)
        kept[first] = True
        for choice in (kept, ~kept):
            choices.setdefault(choice.tobytes(), choice)
        return kept.tobytes(), (~kept).tobytes()

    empty, whole = ask(np.zeros(0, np.int64))
    asked = {name: [ask(order[:count]) for count in counts] for name, order in orders.items()}
    found = predict([row.keep(choice) for choice in choices.values()])[:, row.label_id].astype(np.float64)
    scores = dict(zip(choices, found.tolist(), strict=True))
    alone = {name: np.array([scores[kept] for kept, _ in pairs]) for name, pairs in asked.items()}
    without = {name: np.array([scores[rest] for _, rest in pairs]) for name, pairs in asked.items()}
    return Perturbed(whole=scores[whole], empty=scores[empty], without=merged(without), alone=merged(alone))


def merged(curves: dict[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """Return the curves of the orders, with those of the random ones as their mean."""
    is_random = {name: name.startswith(f"{RANDOM} ") for name in curves}
    kept = {name: curve for name, curve in curves.items() if not is_random[name]}
    drawn = [curve for name, curve in curves.items() if is_random[name]]
    return kept | ({RANDOM: np.mean(drawn, axis=0)} if drawn else {})


def faithfulness(rows: Sequence[Perturbed], *, against: Mapping[str, Sequence[str]]) -> Statistic:
    """Return the statistic of the normalised figures of every order, `<order> <kind>`, (S,), and their curves over
    SHARES, `<order> <kind> curve`, (F, S).

    `against` names, for some orders, those that they should beat: `<order> <kind> over <other>` is the paired
    difference, (S,). A figure is NaN where the rows have no room together: an answer that no part changes.
    """
    room = np.array([row.whole - row.empty for row in rows])  # (N,)
    shares = {
        (name, kind): np.array([share_of_room(row, name, kind) for row in rows])  # (N, F)
        for name in rows[0].without
        for kind in KINDS
    }

    def statistic(weights: Weights) -> Figures:
        total = room @ weights  # (S,)
        found: Figures = {}
        for (name, kind), values in shares.items():
            curve = np.full((len(SHARES), weights.shape[1]), np.nan)
            np.divide(values.T @ weights, total, out=curve, where=total > 0)
            found |= {f"{name} {kind} curve": curve, f"{name} {kind}": curve.mean(axis=0)}
        for name, others in against.items():
            for kind in KINDS:
                for other in others:
                    found[f"{name} {kind} over {other}"] = found[f"{name} {kind}"] - found[f"{other} {kind}"]
        return found

    return statistic


def share_of_room(row: Perturbed, order: str, kind: str) -> NDArray[np.float64]:
    """Return what is lost without the first parts of an order, or given back by them alone, (F,), not yet divided by
    the room."""
    return row.whole - row.without[order] if kind == "comprehensiveness" else row.alone[order] - row.empty
