"""What benchmarks/compression.py found of each side, and the rows and the tables that it makes of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from components.comparison.duel import paired
from components.evaluate.classification.metrics import counting_metrics
from components.params import Bootstrap
from results import Row

BOOTSTRAP = Bootstrap(num_samples=2000, seed=0, confidence=0.95)
REFERENCE, OURS = "torch fp32", "ours, as served"
HEAD: tuple[str, ...] = (
    "", "as run", "rows/s", "beside torch", "accuracy (points beside torch [95 %]): validation", "test", "MB",
    "beside torch's", "one row: p50, p99 ms", "same answers in any batch", "files",
)  # fmt: skip
TRIED = "see 'Compress' in docs/decisions.md"
LABELS = NDArray[np.int64]


@dataclass(frozen=True)
class Limits:
    speedup: float
    """The least rows a second beside torch at its best."""
    lost: float = 0.01
    """The most accuracy that may be lost."""
    size: float | None = None
    """The most bytes beside the float weights."""


LIMITS = {
    "movie_sentiment": Limits(speedup=6.0, size=0.20),
    "movie_sentiment_small": Limits(speedup=6.0, size=0.20),
    "review_sentiment_zh": Limits(speedup=4.0),
    "digits": Limits(speedup=4.0),
}
"""What is asked of a recipe's model; nothing is of the others."""


@dataclass(frozen=True)
class Judged:
    """The accuracy on one split, and how much of the float model's it lacks, with the paired interval."""

    accuracy: float
    lost: float
    low: float
    high: float

    @property
    def words(self) -> str:
        points = ", ".join(f"{0.0 - 100 * one:+.1f}" for one in (self.lost, self.high, self.low))
        gain, ends = points.split(", ", 1)
        return f"{self.accuracy:.4f} ({gain} [{ends}])"


@dataclass(frozen=True)
class Changed:
    """How answers among others differ from those alone."""

    scores: float
    """The share of rows with another score, of whatever size."""
    labels: float
    """The share of rows with another label."""
    most: float
    """The largest difference of a score."""

    @property
    def words(self) -> str:
        if not self.scores:
            return "to the bit"
        told = f"{self.scores:.0%} of the scores differ, by {self.most:.0e} at most".replace("%", " %")
        return f"{told}; " + (f"{self.labels:.1%} of the labels".replace("%", " %") if self.labels else "no label")


@dataclass(frozen=True)
class Found:
    """What was found of one side."""

    name: str
    as_run: str
    """The fastest way to call it, which the figures are of."""
    rows_per_s: Sequence[float]
    """One a round."""
    judged: Mapping[str, Judged]
    """By split."""
    size_bytes: int
    p50_ms: float
    p99_ms: float
    as_measured: Changed
    """Of rows alone beside all at once, called in that way."""
    in_batches: Changed
    """Of rows alone beside batches of rows of unlike lengths."""
    safety: str


def judged_of(actual: LABELS, float_guess: LABELS, guess: LABELS) -> Judged:
    """Judge the labels that were guessed for N rows, beside those of the float model."""
    num_classes = 1 + max(int(one.max()) for one in (actual, float_guess, guess))
    float_model, model = (counting_metrics(actual, one, num_classes=num_classes) for one in (float_guess, guess))
    _, accuracy, lost = paired(float_model, model, "accuracy", num_rows=len(actual), bootstrap=BOOTSTRAP, sign=1.0)
    return Judged(accuracy, float(lost[0]), float(lost[1]), float(lost[2]))


def changed_of(alone: NDArray[np.float32], among: NDArray[np.float32]) -> Changed:
    """Compare the scores (N, L) of the same rows."""
    return Changed(
        scores=float((alone != among).any(axis=1).mean()),
        labels=float((alone.argmax(axis=1) != among.argmax(axis=1)).mean()),
        most=float(np.abs(alone - among).max(initial=0)),
    )


def rows_of(recipe: str, found: Mapping[str, Found]) -> list[Row]:
    """Return the figures of which something is asked, and ours beside each other side."""
    limits, mine, torch = LIMITS.get(recipe), found[OURS], found[REFERENCE]
    rows: list[Row] = []
    for its in sorted((one for one in found.values() if one is not mine), key=lambda one: -median(one.rows_per_s)):
        rows.append(Row(
            f"{recipe}: rows a second beside {its.name}",
            [a / b for a, b in zip(mine.rows_per_s, its.rows_per_s, strict=True)], told(mine), told(its),
            at_least=limits.speedup if limits and its is torch else None, tried=TRIED,
        ))  # fmt: skip
    for split, judged in mine.judged.items():
        rows.append(Row(
            f"{recipe}: accuracy lost on the {split} split", [judged.lost], judged.words,
            f"{torch.judged[split].accuracy:.4f}", "%", at_most=limits.lost if limits else None,
            tried=TRIED,
        ))  # fmt: skip
    rows.append(Row(
        f"{recipe}: bytes beside the float weights", [mine.size_bytes / torch.size_bytes], megabytes(mine),
        megabytes(torch), at_most=limits.size if limits else None, tried=TRIED,
    ))  # fmt: skip
    rows.append(Row(
        f"{recipe}: rows with other scores alone than among others, as served", [mine.as_measured.scores],
        mine.as_measured.words, unit="%", at_most=0.0,
    ))  # fmt: skip
    return rows


def table_of(found: Mapping[str, Found]) -> list[tuple[str, ...]]:
    """Return the lines of a table of all sides, the fastest first, below its head."""
    torch = found[REFERENCE]
    lines = [HEAD]
    for one in sorted(found.values(), key=lambda one: -median(one.rows_per_s)):
        ratios = [a / b for a, b in zip(one.rows_per_s, torch.rows_per_s, strict=True)]
        same = one.as_measured.words
        if (in_batches := one.in_batches.words) != same:
            same += f" as run; in mixed batches: {in_batches}"
        lines.append((
            one.name, one.as_run, f"{median(one.rows_per_s):,.0f}", f"{median(ratios):.2f}",
            one.judged["validation"].words, one.judged["test"].words, megabytes(one)[:-3],
            f"{one.size_bytes / torch.size_bytes:.3f}", f"{one.p50_ms:.2f}, {one.p99_ms:.2f}", same, one.safety,
        ))  # fmt: skip
    return lines


def told(one: Found) -> str:
    return f"{median(one.rows_per_s):,.0f}/s, {one.as_run}"


def megabytes(one: Found) -> str:
    return f"{one.size_bytes / 1e6:.3g} MB"
