"""The summary of the explanations, as explanations.json holds it.

Legend: P pieces of a text, L labels.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from components.evaluate.explanations.faithfulness import SHARES
from components.evaluate.explanations.sample import spread
from components.evaluate.explanations.study import Effects, Interval, Study, verdicts
from components.evaluate.figures import rounded
from serving.predictors.explaining import Span

EXPLANATIONS = "explanations.json"
MAX_TEXTS = 20
MAX_WORDS = 12
PROBABILITY = "probability of the answer"


@dataclass(frozen=True)
class WeighedText:
    """A text of the test split, with what each of its pieces is worth."""

    row: int
    """Its number in data.parquet."""
    text: str
    """The text as the model reads it."""
    actual_id: int
    label_id: int
    """The model's answer."""
    score: float
    """The answer's score."""
    pieces: Sequence[Span]
    is_by_word: bool
    """Whether each piece is one word; those of a long text are several."""
    effects: Mapping[str, Effects]
    """By method, how much each piece speaks for the answer, (P,)."""
    by_label: NDArray[np.float64]
    """By leave-one-out, how much each piece speaks for each label, (P, L)."""


class Piece(TypedDict):
    """A piece of a text, from the character `start` up to `end`, with its weight by each method."""

    start: int
    end: int
    weights: dict[str, float]


class ShownText(TypedDict):
    row: int
    text: str
    label: str
    answer: str
    score: float
    pieces: list[Piece]


class ShownImage(TypedDict):
    row: int
    label: str
    answer: str
    score: float
    values: list[list[float]]
    """The numbers of the image, row by row, from 0 to 1."""
    effects: list[list[float]]
    """How much each patch speaks for the answer, row by row of the patches."""


class Word(TypedDict):
    word: str
    effect: float
    """By how much the class's score is higher with the word than without it, the mean over its occurrences."""
    count: int


class Found(TypedDict):
    """The contents of explanations.json."""

    num_rows: int
    confidence: float
    parts: str
    """What the parts of a row are called: words, patches."""
    score: str
    """What the watched score is."""
    shares: list[float]
    """The shares of a row's parts that are taken away, or kept."""
    verdict: list[str]
    """What the figures say, in words."""
    orders: dict[str, Interval]
    """By order (a method, a method on random weights, a random order), its figures with intervals."""
    curves: dict[str, dict[str, list[float | None]]]
    agreement: Interval
    num_agreeing: int
    texts: list[ShownText]
    words: dict[str, list[Word]]
    """By label, the words that speak for it the most, over the sample."""
    images: list[ShownImage]
    patch: list[int]
    """The height and width of a patch; empty where there are no images."""


def found_of(
    study: Study, *, num_rows: int, confidence: float, parts: str, score: str = PROBABILITY,
    texts: Sequence[ShownText] = (),
    words: Mapping[str, list[Word]] = MappingProxyType({}), images: Sequence[ShownImage] = (),
    patch: Sequence[int] = (),
) -> Found:  # fmt: skip
    """Return the figures and what they say, with examples."""
    return Found(
        num_rows=num_rows,
        confidence=confidence,
        parts=parts,
        score=score,
        shares=list(SHARES),
        verdict=verdicts(study, parts=parts),
        orders=study.orders,
        curves=study.curves,
        agreement=study.agreement,
        num_agreeing=study.num_agreeing,
        texts=list(texts),
        words=dict(words),
        images=list(images),
        patch=list(patch),
    )


def shown_texts(rows: Sequence[WeighedText], labels: Sequence[str]) -> list[ShownText]:
    """Return at most MAX_TEXTS of the explained texts, from first to last, with the weight of each piece."""
    return [
        ShownText(
            row=one.row,
            text=one.text,
            label=labels[one.actual_id],
            answer=labels[one.label_id],
            score=rounded(one.score),
            pieces=[
                Piece(
                    start=piece.start,
                    end=piece.end,
                    weights={name: rounded(effects[number]) for name, effects in one.effects.items()},
                )
                for number, piece in enumerate(one.pieces)
            ],
        )
        for one in spread(rows, most=MAX_TEXTS)
    ]


def words_by_label(
    rows: Sequence[WeighedText], labels: Sequence[str], *, min_occurrences: int
) -> dict[str, list[Word]]:
    """Return, for each label, the at most MAX_WORDS words that speak for it the most, whatever the answers were.

    The case of letters makes no difference. A word that occurs less than `min_occurrences` times is left out, and so
    are texts so long that their words were not weighed one by one.
    """
    effects: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
    for one in rows:
        if one.is_by_word:
            for piece, effect in zip(one.pieces, one.by_label, strict=True):
                effects[one.text[piece.start : piece.end].casefold()].append(effect)
    means = {word: np.mean(each, axis=0) for word, each in effects.items() if len(each) >= min_occurrences}
    found: dict[str, list[Word]] = {}
    for label_id, label in enumerate(labels):
        best = sorted(means, key=lambda word: (-means[word][label_id], word))[:MAX_WORDS]
        found[label] = [
            Word(word=word, effect=rounded(means[word][label_id]), count=len(effects[word]))
            for word in best
            if rounded(means[word][label_id]) > 0
        ]
    return found
