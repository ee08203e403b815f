"""The answers that all classifiers give: from logits to probabilities, and from probabilities to labels."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from typing_extensions import TypedDict  # pydantic wants this one below Python 3.12

DIGITS = 6

Scores = NDArray[np.float32]


class ScoredLabel(TypedDict):
    """The answer for one row: its label, and the scores of all labels."""

    label: str
    scores: dict[str, float]
    """The probability of each label."""


class AbstainingLabel(ScoredLabel):
    """The answer for one row of a model that may say that it does not know."""

    abstain: bool
    """Whether the score of the label is too low to count: then the answer is "I do not know"."""


def softmax(logits: NDArray[np.float32] | NDArray[np.float64]) -> Scores:
    """Return the softmax of logits over the last axis, in the shape of the logits."""
    exponents = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return (exponents / exponents.sum(axis=-1, keepdims=True)).astype(np.float32)


def answers_of(labels: Sequence[str], scores: Scores, *, threshold: float | None = None) -> Sequence[ScoredLabel]:
    """Return the answer for each row of scores (N, L): its most probable label, and all scores by label, rounded to
    DIGITS. With a threshold, each also says whether it abstains: where no score reaches the threshold."""
    answers = [
        ScoredLabel(
            label=labels[max(range(len(row)), key=row.__getitem__)],
            scores={label: round(score, DIGITS) for label, score in zip(labels, row, strict=True)},
        )
        for row in scores.tolist()
    ]
    if threshold is None:
        return answers
    is_sure = sure(scores, threshold=threshold).tolist()
    return [AbstainingLabel(**answer, abstain=not one) for answer, one in zip(answers, is_sure, strict=True)]


def sure(scores: Scores, *, threshold: float | None) -> NDArray[np.bool_]:
    """Return whether the highest score of each row (N, L) reaches the threshold, (N,); all do where it is None."""
    return scores.max(axis=1, initial=0.0).astype(np.float64) >= (0.0 if threshold is None else threshold)
