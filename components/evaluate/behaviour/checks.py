"""The checks of a classifier's behaviour: what each asks, what counts as a failure, and how often there is one.

The share of failures has Clopper and Pearson's exact interval (1934). Legend: N texts, K labels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from components.evaluate.behaviour.made import Case, cases_of
from components.evaluate.classification.metrics import Labels, Scores
from components.evaluate.figures import rounded
from components.params import Behaviour, BehaviourCheck
from components.params.behaviour import Intensifiers, Minimum, Negation, title
from components.plumbing.errors import InputError, did_you_mean, examples

Predict = Callable[[Sequence[str]], Scores]
"""A function from N texts to the scores of their labels, (N, K)."""
Test = Literal["invariance", "direction", "minimum"]

MAX_EXAMPLES = 5
MAX_SHOWN = 400
"""The most characters of a text in an example."""
SAME = 1e-5
"""A change of all scores by no more than this is one that the model does not see: its padding moves scores so far."""


@dataclass(frozen=True)
class Example:
    """A text on which a check fails: the label that the model gives it, and its score of the label in question."""

    row: int | None
    """The row of data.parquet; None for a text of the check's own."""
    before: str
    label: str
    score: float
    after: str | None = None
    """The changed text, with the label that the model gives it and its score of the label that it gave before; None
    where nothing is changed."""
    label_after: str | None = None
    score_after: float | None = None


@dataclass(frozen=True)
class Finding:
    """The result of one check. `share_low` and `share_high` are the ends of the interval of the share of failures."""

    name: str
    kind: str
    test: Test
    label: str | None
    """The label that the check is about; None where it is the one that the model gave before the change."""
    num_texts: int
    num_failures: int
    share: float
    share_low: float
    share_high: float
    max_failures: float | None
    """The largest share that the recipe allows; None for any."""
    mean_score: float
    """The mean score of the label in question, before a change."""
    mean_change: float | None
    """The mean by which the change moves that score; None where nothing is changed."""
    num_unseen: int | None
    """The texts whose scores the change does not move, as of case for a model that reads small letters only, or of
    what is cut off."""
    examples: tuple[Example, ...]
    """The failures whose score was moved or missed the most, at most five."""

    @property
    def is_broken(self) -> bool:
        """Whether more texts fail than the recipe allows."""
        return self.max_failures is not None and self.share > self.max_failures


@dataclass(frozen=True)
class Behaved:
    """The results of all checks, in the order of the recipe."""

    confidence: float
    """The confidence level of the intervals."""
    checks: tuple[Finding, ...]


@dataclass(frozen=True)
class Rows:
    """The rows of the test split, with what the model says of them."""

    row: NDArray[np.int64]
    """The number of each row in data.parquet, (N,)."""
    texts: Sequence[str]
    scores: Scores
    """The scores of the model, (N, K)."""


def run_checks(
    behaviour: Behaviour, rows: Rows, *, predict: Predict, labels: Sequence[str], confidence: float
) -> Behaved:
    """Ask all checks of a model; InputError where one is about a label that the model does not know, or has no text to
    act on, before anything is asked."""
    check_labels(behaviour, labels)
    given = [labels[int(number)] for number in rows.scores.argmax(axis=1)]
    asked = [(check, cases_of(check, behaviour, rows.texts, given)) for check in behaviour.checks]
    return Behaved(
        confidence,
        tuple(
            finding_of(check, cases, rows, predict=predict, labels=labels, confidence=confidence)
            for check, cases in asked
        ),
    )


def check_labels(behaviour: Behaviour, labels: Sequence[str]) -> None:
    """Raise InputError where a check is about a label that the model does not know."""
    for label, name in behaviour.wanted_labels().items():
        if label not in labels:
            raise InputError(
                f"evaluate.behaviour: the check '{name}' is about the label '{label}'{did_you_mean(label, labels)}, "
                f"which the model does not know; it has {examples(labels)}"
            )


def finding_of(
    check: BehaviourCheck, cases: Sequence[Case], rows: Rows, *, predict: Predict, labels: Sequence[str],
    confidence: float,
) -> Finding:  # fmt: skip
    """Ask one check of the model."""
    places = [case.row for case in cases if case.row is not None]
    before = rows.scores[places] if places else predict([case.text for case in cases])  # (N, K)
    changed = [case.changed for case in cases if case.changed is not None]
    after = predict(changed) if changed else before
    asked, number = np.arange(len(cases)), before.argmax(axis=1)
    if isinstance(check, Minimum):
        number = np.full(len(cases), list(labels).index(check.label))
    score, score_after = before[asked, number], after[asked, number]  # (N,)
    fails = failures(check, number, before, after)
    count = int(fails.sum())
    interval = binomtest(count, len(cases)).proportion_ci(confidence, method="exact")
    return Finding(
        name=title(check),
        kind=check.kind,
        test=test_of(check),
        label=check.label if isinstance(check, Minimum | Negation | Intensifiers) else None,
        num_texts=len(cases),
        num_failures=count,
        share=rounded(count / len(cases)),
        share_low=rounded(interval.low),
        share_high=rounded(interval.high),
        max_failures=check.max_failures,
        mean_score=rounded(score.mean(dtype=np.float64)),
        mean_change=rounded((score_after - score).mean(dtype=np.float64)) if changed else None,
        num_unseen=int((np.abs(after - before).max(axis=1) <= SAME).sum()) if changed else None,
        examples=tuple(
            example(cases[index], before[index], after[index], int(number[index]), rows, labels)
            for index in worst(fails, score, score_after if changed else None, falls=isinstance(check, Negation))
        ),
    )


def test_of(check: BehaviourCheck) -> Test:
    """Return which of the three tests of CheckList a check is."""
    if isinstance(check, Minimum):
        return "minimum"
    return "direction" if isinstance(check, Negation | Intensifiers) else "invariance"


def failures(check: BehaviourCheck, number: Labels, before: Scores, after: Scores) -> NDArray[np.bool_]:
    """Return on which texts a check fails, (N,); `number` is the label in question of each."""
    asked = np.arange(len(number))
    fall = before[asked, number] - after[asked, number]
    other = after.argmax(axis=1) != number
    match check:
        case Negation():
            return ~other & (fall < check.min_fall)
        case Intensifiers():
            return other | (fall > check.tolerance)
        case _:
            return other


def worst(
    fails: NDArray[np.bool_], score: NDArray[np.float32], score_after: NDArray[np.float32] | None, *, falls: bool
) -> list[int]:
    """Return the failures to show: those whose score lies the furthest from what is wanted, the first of equal ones.

    The score should have fallen where `falls`; else it should not have, or be high where nothing is changed.
    """
    wrong = score if score_after is None else score_after - score
    order = np.argsort(-wrong if falls else wrong, kind="stable")
    return order[fails[order]][:MAX_EXAMPLES].tolist()


def example(case: Case, before: Scores, after: Scores, number: int, rows: Rows, labels: Sequence[str]) -> Example:
    """Return a failure as an example; of long texts the part around the change."""
    row = None if case.row is None else int(rows.row[case.row])
    label, score = labels[int(before.argmax())], rounded(before[number])
    if case.changed is None:
        return Example(row, cut(case.text, at=0), label, score)
    at = first_difference(case.text, case.changed)
    return Example(
        row,
        cut(case.text, at=at),
        label,
        score,
        after=cut(case.changed, at=at),
        label_after=labels[int(after.argmax())],
        score_after=rounded(after[number]),
    )


def first_difference(one: str, other: str) -> int:
    """Return the first place in which two texts differ."""
    shorter = min(len(one), len(other))
    return next((place for place in range(shorter) if one[place] != other[place]), shorter)


def cut(text: str, *, at: int) -> str:
    """Return at most MAX_SHOWN characters of a text, around one place."""
    start = max(0, min(at - MAX_SHOWN // 2, len(text) - MAX_SHOWN))
    end = start + MAX_SHOWN
    return ("…" if start else "") + text[start:end] + ("…" if end < len(text) else "")
