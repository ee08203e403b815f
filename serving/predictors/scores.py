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


def softmax(logits: NDArray[np.float32]) -> Scores:
    """Return the softmax of logits over the last axis, in the shape of the logits."""
    exponents = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return (exponents / exponents.sum(axis=-1, keepdims=True)).astype(np.float32)


def answers_of(labels: Sequence[str], scores: Scores) -> list[ScoredLabel]:
    """Return the answer for each row of scores (N, L): its most probable label, and all scores by label, rounded to
    DIGITS."""
    return [
        ScoredLabel(
            label=labels[max(range(len(row)), key=row.__getitem__)],
            scores={label: round(score, DIGITS) for label, score in zip(labels, row, strict=True)},
        )
        for row in scores.tolist()
    ]
