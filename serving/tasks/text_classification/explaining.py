"""Which words of a text moved its label's score: the model is asked again without each of them.

`evaluate` proves these explanations by figures, and the service answers with them. Only numpy is needed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serving.predictors.explaining import Span, grouped, leave_out, without, words_a_piece, words_of
from serving.predictors.scores import Scores

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
