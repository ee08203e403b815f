"""The slices that are looked at hang on the rows alone, of any script and size."""

import numpy as np
import pytest

from components.evaluate.classification.finding.candidates import (
    Candidate,
    array_candidates,
    looked_at,
    text_candidates,
    words_of,
)
from components.evaluate.classification.finding.unfit import UnfitError
from components.params import FindSlices, FindTextSlices
from tests.tiny import tiny_rows

SETTINGS = FindTextSlices(min_rows=10, max_words=50, clusters=4, seed=0, shown=5)
ARRAYS = FindSlices(min_rows=10, clusters=4, seed=0, shown=5)


def of_kind(candidates: list[Candidate], kind: str) -> list[Candidate]:
    return [one for one in candidates if one.kind == kind]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It's a Fine film, 2 of 10!", ["it", "fine", "film", "of", "10"]),
        ("很好看的书", ["很好", "好看", "看的", "的书"]),
        ("书", ["书"]),
        ("iPhone很好。很好", ["iphone", "很好", "很好"]),
        ("?! …", []),
        ("", []),
    ],
)
def test_words_are_split_at_spaces_or_else_by_two_characters(text: str, words: list[str]) -> None:
    assert words_of(text) == words


def test_groups_are_fifths_of_the_training_split_and_hold_every_row_once() -> None:
    texts = ["x" * length for length in range(1, 101)]
    groups = of_kind(text_candidates(texts, texts, settings=SETTINGS), "length")
    assert [one.is_member.sum() for one in groups] == [20] * 5
    assert groups[0].name == "at most 20 characters"
    assert groups[1].name == "above 20 to 40 characters"
    assert groups[4].name == "above 80 characters"
    shorter = of_kind(text_candidates(texts, texts[:40], settings=SETTINGS), "length")
    assert [one.is_member.sum() for one in shorter] == [20, 20, 0, 0, 0]


def test_words_are_those_of_the_training_split_that_enough_test_rows_have() -> None:
    train = ["apple pear", "apple plum", "plum"] * 10
    test = ["apple pear kiwi"] * 20 + ["plum kiwi"] * 15 + ["pear"] * 5
    found = of_kind(text_candidates(train, test, settings=SETTINGS), "word")
    assert {one.name: int(one.is_member.sum()) for one in found} == {"apple": 20, "plum": 15, "pear": 25}
    assert [one.name for one in found[:2]] == ["apple", "plum"]
    fewer = SETTINGS.model_copy(update={"max_words": 1})
    assert [one.name for one in of_kind(text_candidates(train, test, settings=fewer), "word")] == ["apple"]


def test_clusters_tell_subjects_apart_and_are_named_by_their_words() -> None:
    sea, wood = (["ocean boat wave sail", "wave ocean harbour", "boat sail ocean"] * 20, ["forest tree leaf"] * 60)
    found = of_kind(
        text_candidates([*sea, *wood], [*sea[:20], *wood[:20]], settings=SETTINGS.model_copy(update={"clusters": 2})),
        "cluster",
    )
    members = [one.is_member for one in found]
    assert sorted(tuple(member[[0, 30]]) for member in members) == [(False, True), (True, False)]
    assert any("forest" in one.name for one in found)
    assert (np.sum(members, axis=0) == 1).all()


def test_the_same_rows_give_the_same_slices() -> None:
    texts = [text for text, _ in tiny_rows(300)]
    first, second = (text_candidates(texts[:200], texts[200:], settings=SETTINGS) for _ in range(2))
    assert [(one.kind, one.name, one.is_member.tolist()) for one in first] == [
        (one.kind, one.name, one.is_member.tolist()) for one in second
    ]


@pytest.mark.parametrize("texts", [["the same text"] * 60, ["?!"] * 60, ["word"] * 30 + [""] * 30])
def test_texts_that_are_equal_or_have_no_words_are_slices_of_nothing_or_of_few(texts: list[str]) -> None:
    found = looked_at(text_candidates(texts, texts, settings=SETTINGS), min_rows=10)
    assert all(10 <= one.is_member.sum() <= 50 for one in found)
    assert len(found) <= 2


def test_chinese_texts_have_words_and_clusters() -> None:
    train = ["这本书很好看", "酒店房间很差", "?"] * 20
    found = looked_at(text_candidates(train, train, settings=SETTINGS), min_rows=10)
    words = {one.name: one.is_member for one in found if one.kind == "word"}
    assert sorted(tuple(member[:3].tolist()) for member in words.values()) == [
        (False, True, False),
        (True, False, False),
    ]


def test_arrays_have_groups_by_mean_and_clusters_named_by_their_label() -> None:
    random = np.random.default_rng(0)
    label_id = np.arange(200) % 2
    values = (random.normal(size=(200, 6)) + 8 * label_id[:, None]).astype(np.float32)
    labels = ("low", "high")
    found = array_candidates(values, values[:100], train_labels=label_id, labels=labels, settings=ARRAYS)
    assert len(of_kind(found, "mean")) == 5
    assert sum(one.is_member.sum() for one in of_kind(found, "cluster")) == 100
    assert all(" in 100% of its training rows" in one.name for one in of_kind(found, "cluster"))
    assert of_kind(found, "mean")[4].name.startswith("mean value above ")
    same = np.ones((60, 3), np.float32)
    alike = array_candidates(same, same, train_labels=label_id[:60], labels=labels, settings=ARRAYS)
    assert looked_at(alike, min_rows=10) == []


@pytest.mark.parametrize("min_rows", [11, 30, 1000])
def test_a_split_too_small_for_min_rows_is_unfit(min_rows: int) -> None:
    settings = SETTINGS.model_copy(update={"min_rows": min_rows})
    message = rf"min_rows is {min_rows}, but the test split holds 20 rows, .* write 5, or leave find_slices out"
    with pytest.raises(UnfitError, match=message):
        text_candidates(["a text"] * 40, ["a text"] * 20, settings=settings)
    with pytest.raises(UnfitError, match=message):
        array_candidates(
            np.ones((40, 2), np.float32), np.ones((20, 2), np.float32), train_labels=np.zeros(40, np.int64),
            labels=("one", "two"), settings=settings,
        )  # fmt: skip
