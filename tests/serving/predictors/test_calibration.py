import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.bundle import BundleError
from serving.predictors.calibration import CALIBRATION, Calibration, Isotonic, Knots, Temperature, load_calibration
from serving.predictors.scores import answers_of, softmax

LINE = {"score": [0.1, 0.6], "share": [0.2, 0.9]}
LEVEL = {"threshold": None, "precision": None}
SCORES = softmax(np.random.default_rng(0).normal(size=(500, 3)) * 3)
WAYS = [
    Temperature(1.7),
    Temperature(0.6),
    Isotonic((Knots((0.1, 0.6), (0.2, 0.9)), Knots((0.0, 0.4, 1.0), (0.1, 0.1, 0.8)), Knots((0.5,), (0.3,)))),
]


def write(folder: Path, content: Any) -> Path:
    (folder / CALIBRATION).write_text(json.dumps(content))
    return folder


def test_temperature_divides_the_logits() -> None:
    logits = np.array([[2.0, -1.0, 0.5], [0.0, 0.0, 3.0]], np.float32)
    assert Temperature(2.5).apply(softmax(logits)) == pytest.approx(softmax(logits / 2.5), abs=1e-6)
    assert Temperature(1.0).apply(SCORES) == pytest.approx(SCORES, abs=1e-6)
    assert (Temperature(3.0).apply(SCORES).argmax(axis=1) == SCORES.argmax(axis=1)).all()


def test_lines_are_read_between_their_knots_and_add_up_to_one() -> None:
    line = Knots((0.1, 0.6), (0.2, 0.9))
    found = Isotonic((line, line)).apply(np.array([[0.35, 0.65], [0.05, 0.95]], np.float32))
    expected = np.array([[0.55, 0.9], [0.2, 0.9]])
    assert found == pytest.approx(expected / expected.sum(axis=1, keepdims=True), abs=1e-6)


@pytest.mark.parametrize("way", WAYS, ids=["cooler", "warmer", "isotonic"])
def test_scores_do_not_depend_on_other_rows(way: Temperature | Isotonic) -> None:
    together = way.apply(SCORES)
    for size in (1, 7):
        parts = [way.apply(SCORES[start : start + size]) for start in range(0, len(SCORES), size)]
        np.testing.assert_array_equal(np.concatenate(parts), together)
    assert together.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert way.apply(SCORES[:0]).shape == (0, 3)


@pytest.mark.parametrize("way", WAYS, ids=["cooler", "warmer", "isotonic"])
def test_what_is_written_is_read_again(way: Temperature | Isotonic, tmp_path: Path) -> None:
    calibration = Calibration(way, threshold=0.75, precision=0.9)
    assert load_calibration(tmp_path, num_labels=3) is None
    assert load_calibration(write(tmp_path, calibration.as_data()), num_labels=3) == calibration


def test_answers_abstain_below_the_threshold_and_say_nothing_without_one() -> None:
    scores = np.array([[0.4, 0.6], [0.25, 0.75], [0.9, 0.1]], np.float32)
    found = answers_of(["a", "b"], scores, threshold=0.75)
    assert [(one["label"], one["abstain"]) for one in found] == [("b", True), ("b", False), ("a", False)]  # type: ignore
    assert [list(one) for one in answers_of(["a", "b"], scores)] == [["label", "scores"]] * 3
    assert answers_of(["a", "b"], scores[:0], threshold=0.75) == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"method": "temperature", "temperature": 0.01, **LEVEL}, "has the temperature 0.01; between 0.01 and 100"),
        ({"method": "temperature", "temperature": float("nan"), **LEVEL}, "has the temperature nan"),
        ({"method": "temperature", "temperature": "hot", **LEVEL}, r"cannot be loaded \(ValueError"),
        ({"method": "temperature", "temperature": 2.0}, r"cannot be loaded \(KeyError: 'threshold'\)"),
        ({"method": "magic", **LEVEL}, "method is 'magic'; known are temperature, isotonic"),
        (
            {"method": "temperature", "temperature": 2.0, **LEVEL, "threshold": 1.5},
            "has the threshold 1.5; from 0 to 1",
        ),
        ({"method": "isotonic", "knots": [LINE], **LEVEL}, "has lines for 1 labels; the model has 2"),
        ({"method": "isotonic", "knots": [LINE, LINE | {"share": [0.9, 0.2]}], **LEVEL}, "a line that does not rise"),
        ({"method": "isotonic", "knots": [LINE, LINE | {"score": [0.5, 0.5]}], **LEVEL}, "a line that does not rise"),
        (
            {"method": "isotonic", "knots": [LINE, LINE | {"share": [0.0, 0.2]}], **LEVEL},
            "a line from 0 to 0.2; above 0",
        ),
        ({"method": "isotonic", "knots": [LINE, LINE | {"share": [0.1]}], **LEVEL}, "a line of 2 scores and 1 shares"),
        ({"method": "isotonic", "knots": [LINE, {"score": [0.1], "share": [float("inf")]}], **LEVEL}, "not finite"),
        ([], r"cannot be loaded \(TypeError"),
    ],
)
def test_file_that_fits_no_model_is_refused_in_a_line(content: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=said) as caught:
        load_calibration(write(tmp_path, content), num_labels=2)
    assert "\n" not in str(caught.value)
