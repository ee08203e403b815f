import numpy as np
import pytest

from components.monitoring.inputs import Reference
from components.monitoring.quality import judge_quality
from components.params import Quality

LIMITS = Quality(min_rows=50, max_drop=0.05, max_ece=0.1, bins=10, confidence=0.95)


def answers(num_rows: int, *, right: float, sure: float) -> tuple[np.ndarray, np.ndarray]:
    actual = np.arange(num_rows) % 2
    is_right = np.arange(num_rows) < right * num_rows
    said = np.where(is_right, actual, 1 - actual)
    scores = np.where(np.arange(2) == said[:, None], sure, 1 - sure).astype(np.float32)
    return actual.astype(np.int64), scores


def reference(*, right: float = 0.9, sure: float = 0.9) -> Reference:
    """One whose validation split was answered so."""
    actual, scores = answers(1000, right=right, sure=sure)
    return Reference("text_classification", ("a", "b"), [], scores, actual, predictor=None, tokens=None)


def judge(num_rows: int, known: Reference | None = None, *, right: float, sure: float) -> list[str]:
    known = known or reference()
    actual, scores = answers(num_rows, right=right, sure=sure)
    found = judge_quality(actual, scores, known, limits=LIMITS, seed=0)
    assert found is not None
    assert found.accuracy.value == pytest.approx(right, abs=1 / num_rows)
    assert found.ece.value == pytest.approx(abs(sure - right), abs=1 / num_rows)
    return list(found.reasons)


def test_as_good_as_before_is_no_reason() -> None:
    assert judge(400, right=0.9, sure=0.9) == []


def test_surely_worse_is_a_reason() -> None:
    (reason,) = judge(400, right=0.75, sure=0.76)
    assert "accuracy on 400 rows with feedback is 0.750" in reason


def test_surely_too_sure_is_a_reason() -> None:
    (reason,) = judge(400, reference(right=0.8, sure=0.8), right=0.8, sure=0.99)
    assert "calibration error on 400 rows with feedback is 0.190" in reason
    assert "above 0.000 of the validation split by more than 0.1" in reason


def test_model_that_was_as_badly_calibrated_on_the_validation_split_is_no_reason() -> None:
    known = reference(right=0.7, sure=0.926)
    assert judge(400, known, right=0.7, sure=0.926) == []
    assert judge(400, known, right=0.7, sure=0.99) == []
    (reason,) = judge(400, known, right=0.95, sure=0.55)
    assert "calibration error on 400 rows with feedback is 0.400" in reason
    assert "above 0.226 of the validation split" in reason
    found = judge_quality(known.actual, known.scores, known, limits=LIMITS, seed=0)
    assert found is not None
    assert (found.validation_accuracy, found.validation_ece) == (found.accuracy.value, found.ece.value)


def test_few_rows_are_shown_and_not_judged() -> None:
    assert judge(40, right=0.5, sure=0.99) == []
    assert judge_quality(*answers(0, right=1, sure=1), reference(), limits=LIMITS, seed=0) is None
