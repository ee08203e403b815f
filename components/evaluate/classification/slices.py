"""The figures of each slice of the test split: the rows that share a value of the recipe's column, such as a domain or
region."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from components.evaluate.bootstrap import Figures, Weights, intervals
from components.evaluate.classification.judged import Judged
from components.evaluate.figures import rounded
from components.params import Bootstrap

COLUMN = "slice"
NO_VALUE = "(none)"

Slices = dict[str, dict[str, float]]
"""By the slice's name, its number of rows, and the accuracy of each system with the ends of its interval."""


def read_slices(path: Path) -> list[str] | None:
    """Read the slice of each row of a split; None where the recipe names no column for slices."""
    if COLUMN not in pq.read_schema(path).names:
        return None
    return [NO_VALUE if name is None else name for name in pq.read_table(path, columns=[COLUMN])[COLUMN].to_pylist()]


def slice_figures(judged: Judged, bootstrap: Bootstrap) -> Slices:
    """Return the figures of each slice, the one with the most rows first; the resamples of a slice are of its own
    rows."""
    assert judged.slices is not None
    names, member = np.unique(np.array(judged.slices, dtype=object), return_inverse=True)
    counts = np.bincount(member)
    order: list[int] = np.argsort(-counts, kind="stable").tolist()
    systems = {"accuracy": judged.scores, "baseline_accuracy": judged.baseline}
    if judged.control is not None:
        systems["control_accuracy"] = judged.control
    right = {name: scores.argmax(axis=1) == judged.actual for name, scores in systems.items()}
    return {
        str(names[number]): {"num_rows": int(counts[number])} | accuracies(right, member == number, bootstrap)
        for number in order
    }


def accuracies(
    right: dict[str, NDArray[np.bool_]], is_member: NDArray[np.bool_], bootstrap: Bootstrap
) -> dict[str, float]:
    """Return the accuracy of each system on the rows of one slice, with the ends of its interval."""
    hits = np.stack([answers[is_member] for answers in right.values()]).astype(np.float32)  # (systems, n)

    def statistic(weights: Weights) -> Figures:
        shares = hits @ weights / weights.sum(axis=0)  # (systems, S)
        return dict(zip(right, shares.astype(np.float64), strict=True))

    found = intervals(statistic, num_rows=int(is_member.sum()), bootstrap=bootstrap)
    ends = ("", "_low", "_high")
    return {name + end: rounded(value) for name in right for end, value in zip(ends, found[name].tolist(), strict=True)}


def worst(slices: Slices) -> str:
    """Return the name of the slice in which the model is the least accurate; of those that tie, the larger."""
    return min(slices, key=lambda name: slices[name]["accuracy"])
