"""The words of a text, and what it is without some of them."""

import random
from itertools import pairwise

import numpy as np
import pytest

from serving.predictors.explaining import Span, grouped, leave_out, without, words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        (" \t\n ", []),
        ("It isn't bad!", ["It", "isn't", "bad", "!"]),
        ("well-made, 1,000.50 of them...", ["well", "-", "made", ",", "1,000.50", "of", "them", ".", ".", "."]),
        ("snake_case x2 e.g. this", ["snake_case", "x2", "e.g", ".", "this"]),
        ("'quoted' it\u2019s", ["'", "quoted", "'", "it\u2019s"]),
        ("质量很好\uff0cGPS也好", ["质", "量", "很", "好", "\uff0c", "GPS", "也", "好"]),
        ("すごい映画", list("すごい映画")),
        ("cafe\u0301 नमस्ते", ["cafe\u0301", "नमस्ते"]),
        ("ok 👍🏽👨‍👩‍👧❤️ yes", ["ok", "👍🏽", "👨‍👩‍👧", "❤️", "yes"]),
        ("один два", ["один", "два"]),
    ],
)
def test_words_are_what_a_reader_would_call_so(text: str, words: list[str]) -> None:
    assert [text[word.start : word.end] for word in words_of(text)] == words


def test_words_of_any_text_are_in_order_and_leave_out_white_space_alone() -> None:
    random_ = random.Random(0)
    for _ in range(300):
        text = "".join(random_.choice("ab1 .,'\u2019_-\n好ア\u0301\u200d👍🏽é") for _ in range(random_.randrange(20)))
        words = words_of(text)
        assert all(one.end <= other.start for one, other in pairwise(words))
        assert without(text, words).strip() == ""


def test_a_long_text_is_grouped_into_neighbours() -> None:
    words = [Span(2 * n, 2 * n + 1) for n in range(10)]
    assert grouped(words, most=10) == words
    assert grouped(words, most=4) == [Span(0, 5), Span(6, 11), Span(12, 17), Span(18, 19)]
    assert grouped([], most=4) == []


def test_a_text_is_left_without_pieces_in_any_order() -> None:
    text = "one two three"
    one, two, three = words_of(text)
    assert without(text, []) == text
    assert without(text, [three, one]) == " two "
    assert without(text, [two]) == "one  three"


def test_effects_are_the_differences_that_each_part_makes() -> None:
    def predict(rows: list[int]) -> np.ndarray:
        return np.array([[row / 10, 1 - row / 10] for row in rows], np.float32)

    found = leave_out(predict, 8, [7, 9, 0])
    np.testing.assert_allclose(found.scores, [0.8, 0.2], atol=1e-6)
    np.testing.assert_allclose(found.effects, [[0.1, -0.1], [-0.1, 0.1], [0.8, -0.8]], atol=1e-6)
