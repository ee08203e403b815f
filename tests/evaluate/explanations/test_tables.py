"""The words that speak for each class, and the texts that are shown."""

import numpy as np

from components.evaluate.explanations.page import marked
from components.evaluate.explanations.tables import MAX_TEXTS, WeighedText, shown_texts, words_by_label
from serving.predictors.explaining import words_of

LABELS = ["bad", "good"]


def weighed(text: str, effects: list[float], *, is_by_word: bool = True) -> WeighedText:
    """A text whose words speak for `good` by `effects`, and against `bad` by as much."""
    worth = np.array(effects)
    return WeighedText(
        row=7, text=text, actual_id=0, label_id=1, score=0.75, pieces=words_of(text), is_by_word=is_by_word,
        effects={"leave_one_out": worth}, by_label=np.stack([-worth, worth], axis=1),
    )  # fmt: skip


def test_words_are_listed_by_their_mean_effect_whatever_their_case() -> None:
    rows = [weighed("Great film", [0.4, 0.1]), weighed("great dull film", [0.2, -0.5, -0.2]), weighed("dull", [-0.3])]
    found = words_by_label(rows, LABELS, min_occurrences=2)
    assert found["good"] == [{"word": "great", "effect": 0.3, "count": 2}]
    assert found["bad"] == [{"word": "dull", "effect": 0.4, "count": 2}, {"word": "film", "effect": 0.05, "count": 2}]
    assert words_by_label(rows, LABELS, min_occurrences=3) == {"bad": [], "good": []}


def test_texts_that_were_not_weighed_by_word_list_none() -> None:
    rows = [weighed("great film", [0.4, 0.1], is_by_word=False)]
    assert words_by_label(rows, LABELS, min_occurrences=1) == {"bad": [], "good": []}


def test_texts_are_shown_with_their_labels() -> None:
    (shown,) = shown_texts([weighed("great film", [0.4, -0.1])], LABELS)
    assert (shown["label"], shown["answer"], shown["score"]) == ("bad", "good", 0.75)
    assert shown["pieces"][1] == {"start": 6, "end": 10, "weights": {"leave_one_out": -0.1}}
    assert len(shown_texts([weighed("film", [0.1])] * 40, LABELS)) == MAX_TEXTS


def test_words_are_coloured_by_their_weight_and_written_as_text() -> None:
    (shown,) = shown_texts([weighed("<i> film", [0.0, 0.2, 0.0, -0.4])], LABELS)
    html = marked(shown["text"], shown["pieces"], "leave_one_out")
    assert html.startswith('&lt;<span title="+0.200" style="background: rgba(42, 112, 70, 0.30)">i</span>&gt; ')
    assert html.endswith('<span title="-0.400" style="background: rgba(192, 57, 43, 0.60)">film</span>')
