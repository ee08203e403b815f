"""The slices on which a classifier is surely worse than on the rest of the test split.

Each candidate is compared with the rest by Fisher's exact test, one-sided. "Surely worse" is what holds after Holm's
correction (1979) over all candidates: where no slice is worse, one is called so in at most 1 - confidence of the test
splits. The intervals are exact (Clopper & Pearson 1934) at the level that Bonferroni asks for, so that all of them hold
at once with that confidence.

Legend: C candidates.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, hypergeom

from components.evaluate.classification.finding.candidates import Candidate, label_candidates, looked_at
from components.evaluate.classification.judged import Judged
from components.evaluate.figures import rounded
from components.params import FindSlices
from components.plumbing.artifacts import write_json

logger = logging.getLogger(__name__)

FILE = "found_slices.json"
MAX_OVERLAP = 0.5
"""The share of the rows of two slices together that both may hold, for both to be shown."""
MAX_SAID = 3
NUM_EXAMPLES = 5


@dataclass(frozen=True)
class FoundSlice:
    """A slice that is worse than the rest, by chance or surely."""

    kind: str
    """What its rows share: `length`, `mean`, `word`, `cluster` or `label`."""
    name: str
    num_rows: int
    accuracy: float
    accuracy_low: float
    """The ends of the interval that holds for all slices looked at at once."""
    accuracy_high: float
    rest_accuracy: float
    """The accuracy on all other rows."""
    difference: float
    """`accuracy` less `rest_accuracy`."""
    p_value: float
    """The chance, if it were no worse than the rest, of as many mistakes in it."""
    p_corrected: float
    """The same for the number of slices looked at, after Holm."""
    is_surely_worse: bool
    mistakes: tuple[int, ...]
    """Rows of data.parquet that are mistakes in it, those of the surest answers first."""
    overlapping: tuple[str, ...]
    """Slices that are not shown since they share most of their rows with this one."""


@dataclass(frozen=True)
class FoundSlices:
    """The worst slices of the test split, the surest first."""

    num_rows: int
    accuracy: float
    confidence: float
    """The confidence of all intervals together, and of there being no false 'surely worse'."""
    min_rows: int
    num_looked_at: int
    looked_at: dict[str, int]
    """By kind, the number of slices looked at."""
    num_surely_worse: int
    """Of all that were looked at, those not shown included."""
    slices: tuple[FoundSlice, ...]


def find_slices(
    judged: Judged, candidates: Sequence[Candidate], *, settings: FindSlices, confidence: float
) -> FoundSlices:
    """Compare each candidate, and the slice of each label, with the rest of the test split."""
    looked = looked_at(
        [*candidates, *label_candidates(judged.actual, judged.labels)], min_rows=settings.min_rows
    )  # fmt: skip
    right = judged.predicted == judged.actual
    member = np.array([one.is_member for one in looked], np.bool_).reshape(len(looked), len(right))  # (C, M)
    rows, hits = member.sum(axis=1), (member & right).sum(axis=1)
    p_values = chances(rows, hits, num_rows=len(right), num_right=int(right.sum()))
    corrected = holm(p_values)
    surely = corrected <= 1 - confidence
    lows, highs = exact_intervals(rows, hits, confidence=1 - (1 - confidence) / max(len(looked), 1))
    accuracy, rest = hits / np.maximum(rows, 1), (right.sum() - hits) / np.maximum(len(right) - rows, 1)
    groups = shown_of(member, p_values, accuracy - rest, limit=settings.shown)
    return FoundSlices(
        num_rows=len(right),
        accuracy=rounded(right.mean()),
        confidence=confidence,
        min_rows=settings.min_rows,
        num_looked_at=len(looked),
        looked_at={kind: sum(one.kind == kind for one in looked) for kind in dict.fromkeys(one.kind for one in looked)},
        num_surely_worse=int(surely.sum()),
        slices=tuple(
            FoundSlice(
                kind=looked[number].kind,
                name=looked[number].name,
                num_rows=int(rows[number]),
                accuracy=rounded(accuracy[number]),
                accuracy_low=rounded(lows[number]),
                accuracy_high=rounded(highs[number]),
                rest_accuracy=rounded(rest[number]),
                difference=rounded(accuracy[number] - rest[number]),
                p_value=float(f"{p_values[number]:.3g}"),
                p_corrected=float(f"{corrected[number]:.3g}"),
                is_surely_worse=bool(surely[number]),
                mistakes=mistakes_in(judged, member[number] & ~right),
                overlapping=tuple(in_words(looked[other].kind, looked[other].name) for other in others),
            )
            for number, others in groups.items()
        ),
    )


def chances(rows: NDArray[np.int64], hits: NDArray[np.int64], *, num_rows: int, num_right: int) -> NDArray[np.float64]:
    """Return the one-sided p value of Fisher's exact test of each slice against the rest, (C,): the chance of so few
    right answers, if they fell on the rows at random."""
    return np.asarray(hypergeom.cdf(hits, num_rows, num_right, rows), np.float64)


def holm(p_values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return p values, (C,), corrected for their number so that the chance of any false finding is kept."""
    order = np.argsort(p_values, kind="stable")
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1)), 1)
    return corrected


def exact_intervals(
    rows: NDArray[np.int64], hits: NDArray[np.int64], *, confidence: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the ends of the Clopper-Pearson interval of each share `hits / rows`, (C,) each."""
    outside = (1 - confidence) / 2
    low = np.where(hits > 0, beta.ppf(outside, np.maximum(hits, 1), rows - hits + 1), 0.0)
    high = np.where(hits < rows, beta.ppf(1 - outside, hits + 1, np.maximum(rows - hits, 1)), 1.0)
    return low, high


def shown_of(
    member: NDArray[np.bool_], p_values: NDArray[np.float64], difference: NDArray[np.float64], *, limit: int
) -> dict[int, list[int]]:
    """Return the numbers of at most `limit` slices below the rest, the surest first, each with those that it stands
    for."""
    shown: dict[int, list[int]] = {}
    order: list[int] = np.lexsort((difference, p_values)).tolist()
    for number in order:
        if difference[number] >= 0:
            continue
        for other in shown:
            both = (member[number] & member[other]).sum()
            if both > MAX_OVERLAP * (member[number] | member[other]).sum():
                shown[other].append(number)
                break
        else:
            if len(shown) < limit:
                shown[number] = []
    return shown


def mistakes_in(judged: Judged, is_wrong: NDArray[np.bool_]) -> tuple[int, ...]:
    """Return a few of the rows that are wrong, those of the highest score first."""
    wrong = np.flatnonzero(is_wrong)
    order = np.lexsort((judged.row[wrong], -judged.scores.max(axis=1)[wrong]))
    return tuple(judged.row[wrong[order[:NUM_EXAMPLES]]].tolist())


def in_words(kind: str, name: str) -> str:
    """Return a slice's name as people read it; that of a length or a mean says it already."""
    return name if kind in ("length", "mean") else f"{kind} {name}" if kind == "cluster" else f"{kind} '{name}'"


def write_slices(folder: Path, found: FoundSlices) -> None:
    """Write what was found into the folder of results, and say it in a line."""
    write_json(folder / FILE, asdict(found))
    if not found.num_surely_worse:
        logger.info("slices: %s", verdict(found))
        return
    worst = [one for one in found.slices if one.is_surely_worse][:MAX_SAID]
    said = "; ".join(
        f"{in_words(one.kind, one.name)} {one.accuracy:.3f} beside {one.rest_accuracy:.3f} ({one.num_rows:,} rows)"
        for one in worst
    )
    logger.warning("slices: %s: %s; see results/%s", verdict(found), said, FILE)


def verdict(found: FoundSlices) -> str:
    """Return what was found as half a sentence."""
    if not found.num_looked_at:
        return f"none has {found.min_rows} rows and leaves as many, so none was looked at"
    count = f"{found.num_surely_worse}" if found.num_surely_worse else "none"
    verb = "are" if found.num_surely_worse > 1 else "is"
    return f"{count} of the {found.num_looked_at:,} looked at {verb} surely worse than the rest"
