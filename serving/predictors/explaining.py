"""Which parts of a row moved its answer: the model is asked again without each of them (leave-one-out, Li et al. 2016,
arXiv:1612.08220).

The effects are exact, not estimated, as an answer does not depend on the rows that are asked with it. `evaluate` proves
these explanations by figures, and the service answers with them. Only numpy is needed.

Legend: N rows, P parts, L labels.
"""

import unicodedata
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from serving.predictors.scores import Scores

Row = TypeVar("Row")

# Scripts that set no spaces between words; there, each character is a word.
UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x2E80, 0x312F),  # radicals of Han, Japanese kana, Bopomofo
    (0x31A0, 0x31FF),
    (0x3400, 0x9FFF),  # Han
    (0xF900, 0xFAFF),
    (0xFF66, 0xFF9F),  # kana of half width
    (0x1AFF0, 0x1B16F),
    (0x20000, 0x3FFFF),
)
ZERO_WIDTH_JOINER = "\u200d"
BETWEEN_LETTERS, BETWEEN_DIGITS = "'\u2019.", "'\u2019.,"


@dataclass(frozen=True)
class Span:
    """A part of a text, from the character `start` up to, not with, the character `end`."""

    start: int
    end: int


@dataclass(frozen=True)
class Explained:
    """The score of each label for a row, and by how much it is higher with each part than without it."""

    scores: NDArray[np.float64]
    """The scores of the whole row, (L,)."""
    effects: NDArray[np.float64]
    """The scores of the whole row minus those without a part, (P, L): above 0 where the part speaks for the label."""


def leave_out(predict: Callable[[Sequence[Row]], Scores], row: Row, without: Sequence[Row]) -> Explained:
    """Return the effect of each of P parts of a row on the score of each label.

    `without` holds the row P times, each time without one part. `predict` returns scores (N, L), whatever rows are
    asked together.
    """
    scores = np.asarray(predict([row, *without]), np.float64)  # (1 + P, L)
    return Explained(scores=scores[0], effects=scores[0] - scores[1:])


def words_of(text: str) -> list[Span]:
    """Return where each word of a text begins and ends, about as Unicode's UAX 29 and the browsers' Intl.Segmenter do.

    A mark such as "!" counts as a word, and so does each character of Chinese, Japanese, Thai and other scripts without
    spaces; white space belongs to none.
    """
    found: list[Span] = []
    is_open = False  # the last word may take further letters
    for at, character in enumerate(text):
        kind = unicodedata.category(character)
        touches = bool(found) and found[-1].end == at
        if character.isspace() or kind == "Cc":
            is_open = False
            continue
        is_letter = kind[0] in "LN" or kind == "Pc"
        is_spaced = is_letter and not is_unspaced(character)
        joins = touches and (
            kind[0] == "M"  # a combining mark, or a selector of an emoji's look
            or kind == "Cf"
            or text[at - 1] == ZERO_WIDTH_JOINER
            or (is_open and is_spaced)
            or (is_open and is_between(text, at))
            or "\U0001f3fb" <= character <= "\U0001f3ff"  # the colour of a person's skin
        )
        if joins:
            found[-1] = Span(found[-1].start, at + 1)
        else:
            found.append(Span(at, at + 1))
            is_open = is_spaced
    return found


def is_unspaced(character: str) -> bool:
    return any(first <= ord(character) <= last for first, last in UNSPACED)


def is_between(text: str, at: int) -> bool:
    """Return whether a mark stands within a word, as in "don't", "e.g" and "1,000.50"."""
    before, after = text[at - 1], text[at + 1 : at + 2]
    if before.isdecimal() and after.isdecimal():
        return text[at] in BETWEEN_DIGITS
    return before.isalpha() and after.isalpha() and text[at] in BETWEEN_LETTERS


def grouped(words: Sequence[Span], *, most: int) -> list[Span]:
    """Return neighbouring words together, as few in one piece as give at most `most` pieces."""
    size = words_a_piece(len(words), most=most)
    return [
        Span(words[first].start, words[min(first + size, len(words)) - 1].end) for first in range(0, len(words), size)
    ]


def words_a_piece(num_words: int, *, most: int) -> int:
    """Return how many neighbouring words make up one of at most `most` pieces."""
    return max(1, -(-num_words // most))


def without(text: str, pieces: Collection[Span]) -> str:
    """Return a text without some of its pieces; what stands between others, such as white space, stays."""
    return "".join(kept_of(text, pieces))


def kept_of(text: str, pieces: Collection[Span]) -> Iterator[str]:
    done = 0
    for piece in sorted(pieces, key=lambda one: one.start):
        yield text[done : piece.start]
        done = piece.end
    yield text[done:]


Predict = Callable[[Sequence[str]], Scores]
"""A function from N texts to the scores of L labels, (N, L), such as `Predictor.predict`."""


@dataclass(frozen=True)
class Weighed(Span):
    """A piece of a text: a word, or neighbouring words of a long text."""

    effect: float
    """The label's score minus that of the text without the piece: above 0 where the piece speaks for the label."""


@dataclass(frozen=True)
class ExplainedText:
    label_id: int
    """The label whose score was watched."""
    score: float
    """The label's score for the whole text."""
    words_a_piece: int
    """The number of words that were left out at a time; the last piece may have fewer."""
    pieces: tuple[Weighed, ...]
    """The pieces in the order of the text; none where it holds only white space."""
    effects: NDArray[np.float64]
    """The effect of each of the P pieces on the score of each of L labels, (P, L)."""


def leave_one_out(predict: Predict, text: str, *, most: int, label_id: int | None = None) -> ExplainedText:
    """Return the effect of each word of a text on the score of a label, by default that of its answer.

    A text of more than `most` words is weighed in at most `most` pieces. The model is asked once for each piece, and
    once for the whole text.
    """
    words = words_of(text)
    pieces = grouped(words, most=most)
    found = leave_out(predict, text, [without(text, [piece]) for piece in pieces])
    label = int(found.scores.argmax()) if label_id is None else label_id
    return ExplainedText(
        label_id=label,
        score=float(found.scores[label]),
        words_a_piece=words_a_piece(len(words), most=most),
        pieces=tuple(
            Weighed(piece.start, piece.end, effect)
            for piece, effect in zip(pieces, found.effects[:, label].tolist(), strict=True)
        ),
        effects=found.effects,
    )
