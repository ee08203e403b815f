"""Labels are suspected where classifiers that did not see them confidently disagree."""

import csv
import json
import logging
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.evaluate.classification.finding.label_errors import (
    FILE,
    TABLE,
    check_folds,
    confident_others,
    suspect_labels,
    write_label_errors,
)
from components.evaluate.classification.finding.labelled import Labelled, read_labelled
from components.evaluate.classification.finding.unfit import UnfitError
from components.evaluate.classification.judged import Judged
from components.evaluate.classification.metrics import Scores
from components.evaluate.stage import Inputs
from components.params import LabelErrors

SETTINGS = LabelErrors(folds=4, shown=10, seed=0, max_rows=1000)
LABELS = ("a", "b", "c")


def test_a_class_is_confident_from_the_mean_probability_of_its_own_rows_on() -> None:
    given = np.array([0, 0, 0, 1, 1, 1])
    probabilities = np.array(
        [[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.45, 0.55], [0.1, 0.9], [0.4, 0.6]], np.float32
    )  # fmt: skip
    # thresholds: 0.6 and 0.683; the third row alone is confidently of the other class
    assert confident_others(given, probabilities).tolist() == [-1, -1, 1, -1, -1, -1]
    # more probable than its label, but below the threshold of its class
    probabilities[3] = [0.55, 0.45]
    assert confident_others(given, probabilities)[3] == -1


def test_a_class_without_rows_is_never_suggested() -> None:
    given = np.array([0, 1, 0, 1])
    probabilities = np.array([[0.1, 0.1, 0.8]] * 4, np.float32)
    assert (confident_others(given, probabilities) != 2).all()


def test_rows_that_are_all_alike_are_not_suspected() -> None:
    assert confident_others(np.arange(6) % 2, np.full((6, 2), 0.5, np.float32)).tolist() == [-1] * 6


def judged_of(labelled: Labelled, scores: Scores) -> Judged:
    """The model's scores of the rows of the test split."""
    is_test = np.array(labelled.split) == "test"
    row, actual = labelled.row[is_test], labelled.given[is_test]
    return Judged(LABELS, row, None, actual, scores[is_test], scores[is_test], "a baseline")


def rows_with_flips(num_rows: int = 600) -> tuple[Labelled, Scores, np.ndarray]:
    """Rows of three classes of which one in fifty has a wrong label, with the probabilities of a classifier that is
    right on nine of ten rows, and where the wrong labels are."""
    random = np.random.default_rng(0)
    truth = random.integers(3, size=num_rows)
    is_flipped = np.zeros(num_rows, np.bool_)
    is_flipped[random.choice(num_rows, num_rows // 50, replace=False)] = True
    given = np.where(is_flipped, (truth + 1) % 3, truth)
    named = np.where(random.random(num_rows) < 0.9, truth, (truth + 2) % 3)
    probabilities = np.full((num_rows, 3), 0.1, np.float32)
    probabilities[np.arange(num_rows), named] = random.uniform(0.5, 0.9, num_rows)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    split = ["train"] * (num_rows - 200) + ["validation"] * 100 + ["test"] * 100
    return Labelled(np.arange(num_rows), split, given, np.arange(num_rows)), probabilities, is_flipped


def test_each_row_is_judged_by_a_classifier_that_was_trained_without_it() -> None:
    labelled, probabilities, _ = rows_with_flips()
    asked: list[np.ndarray] = []

    def ask(is_asked: np.ndarray) -> Scores:
        asked.append(is_asked)
        return probabilities[is_asked]

    suspect_labels(
        labelled, judged_of(labelled, probabilities), texts=None, classifier="one", ask=ask, settings=SETTINGS
    )  # fmt: skip
    assert len(asked) == SETTINGS.folds
    assert (np.sum(asked, axis=0) == 1).all()
    for label in range(3):  # each fold trains on every class
        assert all((labelled.given[~fold] == label).any() for fold in asked)


def test_test_rows_that_the_model_doubts_too_come_first_then_the_least_margin(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    labelled, probabilities, is_flipped = rows_with_flips()
    truth = np.where(is_flipped, (labelled.given + 2) % 3, labelled.given)
    judged = judged_of(labelled, np.eye(3, dtype=np.float32)[truth] * 0.8 + 0.05)
    texts = [f"text {number}\nof {'many ' * 100}words" for number in range(len(labelled.row))]
    found, everyone = suspect_labels(
        labelled, judged, texts=texts, classifier="one", ask=lambda asked: probabilities[asked], settings=SETTINGS
    )
    agreed = [one for one in everyone if one.model_agrees]
    assert len(agreed) == found.num_model_agrees == is_flipped[-100:].sum() > 0
    assert everyone[: len(agreed)] == agreed
    assert all(is_flipped[one.row] for one in agreed)
    margins = [one.margin for one in everyone[len(agreed) :]]
    assert margins == sorted(margins)
    assert all(margin < 0 for margin in margins)
    assert {one.model_agrees for one in everyone if one.split == "train"} == {None}
    assert found.suspects == tuple(everyone[:10])
    assert found.splits == {"train": 400, "validation": 100, "test": 100}
    assert everyone[0].text is not None
    assert len(everyone[0].text) == 300
    assert "\n" not in everyone[0].text

    with caplog.at_level(logging.INFO, "components"):
        write_label_errors(tmp_path, found, everyone)
    assert f"{len(everyone)} of 600 labels are suspected, {len(agreed)} of them by the model too" in caplog.text
    assert TABLE in caplog.text
    table = list(csv.DictReader((tmp_path / TABLE).read_text(encoding="utf-8").splitlines()))
    assert [int(line["row"]) for line in table] == [one.row for one in everyone]
    assert (table[0]["place"], table[0]["model_agrees"], table[0]["split"]) == ("1", "True", "test")
    assert {line["model_agrees"] for line in table if line["split"] == "train"} == {""}
    assert json.loads((tmp_path / FILE).read_text())["num_suspected"] == len(everyone)


def test_where_nothing_is_suspected_it_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    labelled, _, _ = rows_with_flips()
    sure = np.eye(3, dtype=np.float32)[labelled.given]
    found, everyone = suspect_labels(
        labelled, judged_of(labelled, sure), texts=None, classifier="one", ask=lambda asked: sure[asked],
        settings=SETTINGS,
    )  # fmt: skip
    assert (found.num_suspected, found.accuracy, everyone) == (0, 1.0, [])
    with caplog.at_level(logging.INFO, "components"):
        write_label_errors(tmp_path, found, everyone)
    assert "none of 600 labels is suspected" in caplog.text
    assert (tmp_path / TABLE).read_text().count("\n") == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([0] * 9 + [2] * 3, r"folds is 4, but the label 'c' has 3 of the 12 rows looked at; write folds: 3, or leave"),
        ([0] * 9 + [1], r"the label 'b' has 1 of the 10 rows looked at; give it more rows or remove it, or leave"),
        ([0] * 4 + [1] * 3 + [2] * 2, r"the label 'c' has 2 of .* write folds: 2"),
    ],
)
def test_a_label_with_fewer_rows_than_folds_is_unfit(given: list[int], message: str) -> None:
    with pytest.raises(UnfitError, match=message):
        check_folds(np.array(given), LABELS, SETTINGS.folds)
    check_folds(np.array([0, 0, 0, 0, 1, 1, 1, 1]), LABELS, SETTINGS.folds)


def test_of_many_rows_a_seeded_sample_of_all_splits_is_read(tmp_path: Path) -> None:
    first = 0
    for name, size in (("train", 200), ("validation", 50), ("test", 50)):
        columns = {"row": pa.array(range(first, first + size), pa.int64()), "label_id": pa.array([0, 1] * (size // 2))}
        pq.write_table(pa.table(columns), tmp_path / f"{name}.parquet")
        first += size
    splits = {name: tmp_path / f"{name}.parquet" for name in ("train", "validation", "test")}
    inputs = Inputs(**splits, predictor=tmp_path, model=tmp_path, control=tmp_path, recipe="tiny")
    whole = read_labelled(inputs, SETTINGS)
    assert whole.row.tolist() == list(range(300))
    assert [whole.split[number] for number in (199, 200, 250)] == ["train", "validation", "test"]
    part = read_labelled(inputs, SETTINGS.model_copy(update={"max_rows": 100}))
    assert len(part.row) == len(part.split) == 100
    assert part.row.tolist() == part.place.tolist()
    assert part.given.tolist() == (part.row % 2).tolist()
