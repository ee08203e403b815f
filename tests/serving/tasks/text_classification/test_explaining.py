"""Which words of a text moved its score."""

from collections.abc import Sequence

import numpy as np
import pytest

from serving.predictors.explaining import leave_one_out
from serving.predictors.scores import Scores, softmax


def predict(texts: Sequence[str]) -> Scores:
    """Score `negative` and `positive` by how often a text says good, and bad."""
    logits = [[float(text.count("bad")), float(text.count("good"))] for text in texts]
    return softmax(np.array(logits, np.float32).reshape(-1, 2))


def test_the_words_that_matter_are_found_with_their_effect() -> None:
    found = leave_one_out(predict, "A good, good film, not bad!", most=100)
    words = ["A good, good film, not bad!"[piece.start : piece.end] for piece in found.pieces]
    assert words == ["A", "good", ",", "good", "film", ",", "not", "bad", "!"]
    assert (found.label_id, found.words_a_piece) == (1, 1)
    assert found.score == pytest.approx(1 / (1 + np.exp(-1)), abs=1e-6)
    effects = dict(zip(words, (piece.effect for piece in found.pieces), strict=True))
    assert effects["good"] == pytest.approx(found.score - 0.5, abs=1e-6)
    assert effects["bad"] < 0
    assert effects["film"] == 0


def test_another_label_is_weighed_where_it_is_asked_for() -> None:
    found = leave_one_out(predict, "good", most=10, label_id=0)
    assert found.label_id == 0
    assert found.pieces[0].effect < 0


def test_a_long_text_is_weighed_in_pieces_of_neighbours() -> None:
    found = leave_one_out(predict, "good " * 5, most=2)
    assert found.words_a_piece == 3
    assert [(piece.start, piece.end) for piece in found.pieces] == [(0, 14), (15, 24)]


@pytest.mark.parametrize("text", ["", " \n "])
def test_a_text_without_words_has_a_score_and_no_pieces(text: str) -> None:
    found = leave_one_out(predict, text, most=10)
    assert found.pieces == ()
    assert found.score == pytest.approx(0.5)
