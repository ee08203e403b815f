"""The work and answer of POST /explain: which words of a text moved its label's score."""

from collections.abc import Sequence

from typing_extensions import TypedDict  # pydantic wants this one below Python 3.12

from serving.predictors.explaining import ExplainedText, grouped, without, words_of
from serving.predictors.scores import DIGITS


class Piece(TypedDict):
    """A part of a text, and how much higher the label's score is with it than without it."""

    start: int
    end: int
    effect: float


class Explanation(TypedDict):
    """The pieces of a text, each with its effect on the score of the text's label."""

    label: str
    score: float
    words_a_piece: int
    pieces: list[Piece]


def explanation(found: ExplainedText, labels: Sequence[str]) -> Explanation:
    """Return what was found as the service answers it, rounded as scores are."""
    pieces: list[Piece] = [
        {"start": one.start, "end": one.end, "effect": round(one.effect, DIGITS)} for one in found.pieces
    ]
    return {
        "label": labels[found.label_id],
        "score": round(found.score, DIGITS),
        "words_a_piece": found.words_a_piece,
        "pieces": pieces,
    }


def texts_asked(text: str, *, most: int) -> list[str]:
    """Return the texts that `leave_one_out` asks of the model: the whole one, and that without each piece."""
    return [text, *(without(text, [piece]) for piece in grouped(words_of(text), most=most))]
