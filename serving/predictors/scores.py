"""What classifiers share: from logits to probabilities, and from those to answers."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from typing_extensions import TypedDict  # pydantic wants this one below Python 3.12

DIGITS = 6

Scores = NDArray[np.float32]


class ScoredLabel(TypedDict):
    """What is said of one row."""

    label: str
    scores: dict[str, float]
    """The probability of each label."""


def softmax(logits: NDArray[np.float32]) -> Scores:
    """Probabilities over the last axis."""
    exponents = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return (exponents / exponents.sum(axis=-1, keepdims=True)).astype(np.float32)


def answers_of(labels: Sequence[str], scores: Scores) -> list[ScoredLabel]:
    """The scores of each row by label; the highest is its label."""
    return [
        ScoredLabel(
            label=labels[max(range(len(row)), key=row.__getitem__)],
            scores={label: round(score, DIGITS) for label, score in zip(labels, row, strict=True)},
        )
        for row in scores.tolist()
    ]
