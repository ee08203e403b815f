"""A slice is called surely worse only where that holds after the correction for all that were looked at."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest, fisher_exact

from components.evaluate.classification.finding.candidates import (
    Candidate,
    label_candidates,
    looked_at,
    text_candidates,
)
from components.evaluate.classification.finding.slices import (
    FILE,
    FoundSlices,
    chances,
    exact_intervals,
    find_slices,
    holm,
    verdict,
    write_slices,
)
from components.evaluate.classification.judged import Judged
from components.params import FindTextSlices
from components.plumbing.artifacts import read_json
from tests.tiny import tiny_rows

SETTINGS = FindTextSlices(min_rows=20, max_words=100, clusters=5, seed=0, shown=5)
LABELS = ("negative", "positive")
ROWS = tiny_rows(900)
TRAIN, TEST = [text for text, _ in ROWS[:500]], [text for text, _ in ROWS[500:]]
ACTUAL = np.array([LABELS.index(label) for _, label in ROWS[500:]])


def judged_of(is_wrong: np.ndarray, *, actual: np.ndarray = ACTUAL, texts: Sequence[str] = TEST) -> Judged:
    """The test rows with mistakes at these places."""
    predicted = np.where(is_wrong, 1 - actual, actual)
    scores = np.full((len(actual), 2), 0.1, np.float32)
    scores[np.arange(len(actual)), predicted] = 0.9
    row = np.arange(1000, 1000 + len(actual))
    return Judged(LABELS, row, list(texts), actual, scores, scores, "a baseline")


@pytest.fixture(scope="module")
def candidates() -> list[Candidate]:
    return text_candidates(TRAIN, TEST, settings=SETTINGS)


def found_in(judged: Judged, candidates: Sequence[Candidate], **changes: int) -> FoundSlices:
    settings = SETTINGS.model_copy(update=changes)
    return find_slices(judged, candidates, settings=settings, confidence=0.95)


def test_mistakes_at_random_make_no_slice_surely_worse_in_more_than_a_twentieth_of_the_splits(
    candidates: list[Candidate],
) -> None:
    looked = looked_at([*candidates, *label_candidates(ACTUAL, LABELS)], min_rows=SETTINGS.min_rows)
    assert len(looked) > 60
    with_finding = uncorrected = outside = 0
    for seed in range(200):
        wrong = np.random.default_rng(seed).random(len(ACTUAL)) < 0.15
        found = found_in(judged_of(wrong), candidates, shown=1000)
        assert found.num_looked_at == len(looked)
        with_finding += found.num_surely_worse > 0
        uncorrected += any(one.p_value <= 0.05 for one in found.slices)
        rows, hits = (np.array([(one.is_member & of).sum() for one in looked]) for of in (wrong | True, ~wrong))
        low, high = exact_intervals(rows, hits, confidence=1 - 0.05 / len(looked))
        outside += bool(((low > 0.85) | (high < 0.85)).any())
    assert with_finding <= 10
    assert outside <= 10  # all intervals hold at once
    assert uncorrected > 150  # what would be found without the correction


def test_a_slice_that_is_worse_is_found(candidates: list[Candidate]) -> None:
    word = max((one for one in candidates if one.kind == "word"), key=lambda one: one.is_member.sum())
    draws = np.random.default_rng(0).random(len(ACTUAL))
    wrong = draws < np.where(word.is_member, 0.6, 0.08)
    found = found_in(judged_of(wrong), candidates)
    worst = found.slices[0]
    assert (worst.kind, worst.name, worst.num_rows) == ("word", word.name, int(word.is_member.sum()))
    assert worst.is_surely_worse
    assert worst.accuracy == pytest.approx((~wrong)[word.is_member].mean(), abs=1e-6)
    assert worst.rest_accuracy == pytest.approx((~wrong)[~word.is_member].mean(), abs=1e-6)
    assert worst.accuracy_low < worst.accuracy < worst.accuracy_high < worst.rest_accuracy
    assert set(worst.mistakes) <= set((1000 + np.flatnonzero(wrong & word.is_member)).tolist())
    assert len(worst.mistakes) == 5
    assert found_in(judged_of(wrong), candidates) == found


def test_the_statistics_are_those_of_scipy() -> None:
    rows, hits = np.array([30, 50, 40, 20]), np.array([20, 50, 0, 15])
    p_values = chances(rows, hits, num_rows=200, num_right=150)
    for number in (0, 1, 3):
        table = [[hits[number], rows[number] - hits[number]], [150 - hits[number], 50 - rows[number] + hits[number]]]
        exact: Any = fisher_exact(table, alternative="less")
        assert p_values[number] == pytest.approx(exact.pvalue)
    low, high = exact_intervals(rows, hits, confidence=0.99)
    for number in range(4):
        interval = binomtest(int(hits[number]), int(rows[number])).proportion_ci(0.99, method="exact")
        assert (low[number], high[number]) == pytest.approx((interval.low, interval.high))


def test_holm_corrects_as_in_the_worked_example() -> None:
    assert holm(np.array([0.03, 0.01, 0.04, 0.005])) == pytest.approx([0.06, 0.03, 0.06, 0.02])
    assert holm(np.array([])).tolist() == []


def test_slices_with_most_rows_in_common_are_shown_once() -> None:
    wrong = np.arange(400) < 60
    same = [Candidate("word", name, np.arange(400) < size) for name, size in (("first", 80), ("second", 100))]
    other = Candidate("word", "third", (np.arange(400) > 50) & (np.arange(400) < 130))
    found = found_in(judged_of(wrong, actual=np.arange(400) % 2), [*same, other])
    assert [one.name for one in found.slices] == ["first"]
    assert found.slices[0].overlapping == ("word 'second'",)
    twice = [same[0], Candidate("cluster", "the same rows", same[0].is_member)]
    assert found_in(judged_of(wrong, actual=np.arange(400) % 2), twice).looked_at == {"word": 1, "label": 2}


def test_nothing_is_worse_where_all_is_right(candidates: list[Candidate]) -> None:
    found = found_in(judged_of(np.zeros(len(ACTUAL), np.bool_)), candidates)
    assert (found.accuracy, found.num_surely_worse, found.slices) == (1.0, 0, ())
    assert verdict(found).startswith("none of the ")


def test_a_model_that_names_one_label_is_worse_on_the_other(candidates: list[Candidate]) -> None:
    found = found_in(judged_of(ACTUAL == 0), candidates)
    assert (found.slices[0].kind, found.slices[0].name, found.slices[0].accuracy) == ("label", "negative", 0.0)
    assert found.slices[0].is_surely_worse
    assert found.slices[0].accuracy_low == 0.0


def test_where_every_slice_is_small_none_is_looked_at() -> None:
    found = found_in(judged_of(np.arange(50) < 5, actual=np.repeat([0, 1], [45, 5])), [], min_rows=10)
    assert (found.num_looked_at, found.num_surely_worse, found.slices) == (0, 0, ())
    assert verdict(found) == "none has 10 rows and leaves as many, so none was looked at"


def test_forty_labels_are_forty_slices() -> None:
    actual = np.arange(1200) % 40
    scores = np.eye(40, dtype=np.float32)[np.where(actual == 7, 8, actual)]
    labels = [f"topic {number}" for number in range(40)]
    judged = Judged(labels, np.arange(1200), None, actual, scores, scores, "a baseline")
    found = found_in(judged, [])
    assert found.looked_at == {"label": 40}
    assert [(one.name, one.is_surely_worse) for one in found.slices] == [("topic 7", True)]


def test_what_is_surely_worse_is_a_warning_and_else_a_line(
    candidates: list[Candidate], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "components"):
        write_slices(tmp_path, found_in(judged_of(ACTUAL == 0), candidates))
        write_slices(tmp_path, found_in(judged_of(ACTUAL < 0), candidates))
    warned, said = caplog.records
    assert warned.levelno == logging.WARNING
    assert "surely worse than the rest: label 'negative' 0.000 beside 1.000 (200 rows)" in warned.getMessage()
    assert said.levelno == logging.INFO
    assert read_json(tmp_path / FILE)["num_surely_worse"] == 0
