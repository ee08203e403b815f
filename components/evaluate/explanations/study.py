"""The study of explanations by figures: how faithful each method is, and whether that is surely more than chance.

Each method is beside a random order of the parts, and beside itself on a model of random weights. All are judged by the
model that is served, on the same rows.

Legend: N rows, P parts of a row, F shares.
"""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

from components.evaluate.bootstrap import Figures, Weights, intervals
from components.evaluate.explanations.faithfulness import (
    KINDS,
    RANDOM,
    Parted,
    faithfulness,
    order_of,
    perturb,
    random_orders,
)
from components.evaluate.figures import rounded
from components.params import Bootstrap
from components.plumbing.progress import progress

Row = TypeVar("Row")
Effects = NDArray[np.float64]
"""By how much each part speaks for the label, (P,)."""

OF_RANDOM_WEIGHTS = "_of_random_weights"
"""What follows the name of a method where it explained the model of random weights."""
METHODS = {
    "leave_one_out": "leave-one-out",
    "integrated_gradients": "integrated gradients",
    "occlusion": "occlusion",
}
"""The names of the methods, and how they are called."""
TAU = "tau"
ENDS = ("", "_low", "_high")

Interval = dict[str, float | None]
"""Figures by name, each with the ends of its interval, `<name>_low` and `<name>_high`; null where it is undefined."""


@dataclass(frozen=True)
class Explained(Generic[Row]):
    """A row, with what each method says of its parts."""

    row: Parted[Row]
    effects: Mapping[str, Effects]
    """By method."""
    of_random_weights: Mapping[str, Effects]
    """By method, what it says of the parts for the same label of the model of random weights."""


@dataclass(frozen=True)
class Study:
    """The figures of every order of the parts: of the methods, of the methods on random weights, and random ones."""

    orders: dict[str, Interval]
    """By order, `comprehensiveness` and `sufficiency`; a method also has what they are `…_over_random` and
    `…_over_random_weights`."""
    curves: dict[str, dict[str, list[float | None]]]
    """By order and figure, its value at each of SHARES."""
    agreement: Interval
    """Kendall's `tau` between the two methods over the parts of a row, the mean over the rows; empty for one method."""
    num_agreeing: int
    """The number of rows whose parts both methods can put in an order."""


def study(
    predict: Callable[[Sequence[Row]], NDArray[np.float32]], rows: Sequence[Explained[Row]],
    *, seed: int, bootstrap: Bootstrap,
) -> Study:  # fmt: skip
    """Judge what every method says of N rows by the scores of `predict`; the rows have at least one part each."""
    perturbed = []
    with progress("perturb", total=len(rows)) as bar:
        for number, one in enumerate(rows):
            orders = {name: order_of(effects) for name, effects in one.effects.items()}
            orders |= {
                f"{name}{OF_RANDOM_WEIGHTS}": order_of(effects) for name, effects in one.of_random_weights.items()
            }
            orders |= random_orders(one.row.num_parts, seed=seed + number)
            perturbed.append(perturb(predict, one.row, orders))
            bar.update(number + 1)
    methods = list(rows[0].effects)
    against = {name: [RANDOM, f"{name}{OF_RANDOM_WEIGHTS}"] for name in methods}
    faithful = faithfulness(perturbed, against=against)
    taus = agreement(rows)

    def statistic(weights: Weights) -> Figures:
        return faithful(weights) | ({TAU: mean_of_defined(taus, weights)} if len(methods) == 2 else {})

    found = intervals(statistic, num_rows=len(rows), bootstrap=bootstrap)
    return Study(
        orders={name: interval_of(found, name, against.get(name, [])) for name in perturbed[0].without},
        curves={
            name: {kind: [known(value) for value in found[f"{name} {kind} curve"][:, 0]] for kind in KINDS}
            for name in perturbed[0].without
        },
        agreement=with_ends(TAU, found[TAU]) if TAU in found else {},
        num_agreeing=int((~np.isnan(taus)).sum()),
    )


def interval_of(found: Mapping[str, NDArray[np.float64]], order: str, others: Sequence[str]) -> Interval:
    """Return the figures of an order, and by how much it beats the others."""
    figures: Interval = {}
    for kind in KINDS:
        figures |= with_ends(kind, found[f"{order} {kind}"])
        for other in others:
            figures |= with_ends(f"{kind}_over_{short(other)}", found[f"{order} {kind} over {other}"])
    return figures


def short(other: str) -> str:
    return "random_weights" if other.endswith(OF_RANDOM_WEIGHTS) else other


def with_ends(name: str, triple: NDArray[np.float64]) -> Interval:
    return {f"{name}{end}": known(value) for end, value in zip(ENDS, triple, strict=True)}


def known(value: float) -> float | None:
    return None if math.isnan(value) else rounded(value)


def agreement(rows: Sequence[Explained[Row]]) -> NDArray[np.float64]:
    """Return Kendall's tau-b between the first two methods over the parts of each row, (N,); NaN where there is but one
    method, or where all parts are alike to one of them."""
    found = np.full(len(rows), np.nan)
    for number, one in enumerate(rows):
        pair = list(one.effects.values())[:2]
        if len(pair) == 2 and one.row.num_parts > 1:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of constant effects, whose tau is NaN
                found[number] = kendalltau(*pair)[0]
    return found


def mean_of_defined(values: NDArray[np.float64], weights: Weights) -> NDArray[np.float64]:
    """Return the weighted means, (S,), of the values (N,) that are numbers; NaN where none is."""
    defined = ~np.isnan(values)
    counted = defined.astype(np.float64) @ weights
    total = np.where(defined, values, 0.0) @ weights
    return np.divide(total, counted, out=np.full(counted.shape, np.nan), where=counted > 0)


def verdicts(found: Study, *, parts: str) -> list[str]:
    """Return, in words, for each method and figure, whether it surely beats a random order and itself on random
    weights; `parts` is what the parts of a row are called."""
    lines: list[str] = []
    for name, figures in found.orders.items():
        if name not in METHODS:
            continue
        for kind in KINDS:
            value = figures[kind]
            if value is None:
                lines.append(
                    f"{METHODS[name].capitalize()}: {kind} cannot be told, as the rows' scores are no higher than "
                    f"without any {parts}."
                )
                continue
            beaten, unbeaten = [], []
            for other, called in ((RANDOM, "a random order"), ("random_weights", "the same on random weights")):
                low, high = figures[f"{kind}_over_{other}_low"], figures[f"{kind}_over_{other}_high"]
                gain = figures[f"{kind}_over_{other}"]
                words = f"{called} (by {gain:+.3f}, {low:+.3f} to {high:+.3f})"
                (beaten if low is not None and low > 0 else unbeaten).append(words)
            said = [f"surely beats {' and '.join(beaten)}"] if beaten else []
            said += [f"DOES NOT surely beat {' and '.join(unbeaten)}"] if unbeaten else []
            lines.append(f"{METHODS[name].capitalize()}: {kind} {value:.3f} {', but '.join(said)}.")
    tau = found.agreement.get(TAU)
    if tau is not None:
        low, high = found.agreement[f"{TAU}_low"], found.agreement[f"{TAU}_high"]
        lines.append(
            f"The two methods agree by a Kendall's tau of {tau:.2f} ({low:.2f} to {high:.2f}) over the {parts} of a "
            "row, where 1 is the same order and 0 none in common."
        )
    return lines
