from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn import metrics as reference

from components.evaluate.classification.metrics import (
    Figures,
    calibration_curve,
    calibration_metrics,
    counting_metrics,
    ranking_metrics,
)

UNDEFINED: Any = 0  # what scikit-learn shall give for 0 / 0; its annotation allows only strings


def once(num_rows: int) -> np.ndarray:
    return np.ones((num_rows, 1), np.float32)


def draw(num_rows: int, num_classes: int, *, seed: int, strength: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and scores with ties that lean to the right class by `strength`."""
    random = np.random.default_rng(seed)
    actual = random.integers(num_classes, size=num_rows)
    logits = random.normal(size=(num_rows, num_classes)).round(1)
    logits[np.arange(num_rows), actual] += strength
    return actual, softmax(logits, axis=1).astype(np.float32)


@pytest.mark.parametrize("num_classes", [2, 3, 40])
def test_counting_metrics_equal_sklearn(num_classes: int) -> None:
    actual, scores = draw(300, num_classes, seed=num_classes)
    predicted = scores.argmax(axis=1)
    found = counting_metrics(actual, predicted, num_classes=num_classes)(once(300))
    precision, recall, f1, _ = reference.precision_recall_fscore_support(
        actual, predicted, average="macro", zero_division=UNDEFINED
    )
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(actual, predicted))
    assert found["precision_macro"] == pytest.approx(precision)
    assert found["recall_macro"] == pytest.approx(recall)
    assert found["f1_macro"] == pytest.approx(f1)
    assert found["mcc"] == pytest.approx(reference.matthews_corrcoef(actual, predicted))
    each: Any = reference.precision_recall_fscore_support(
        actual, predicted, labels=range(num_classes), average=None, zero_division=UNDEFINED
    )
    for name, values in zip(("class_precision", "class_recall", "class_f1"), each, strict=False):
        np.testing.assert_allclose(found[name][:, 0], values)


def test_micro_means_equal_the_accuracy() -> None:
    actual, scores = draw(200, 5, seed=1)
    micro = reference.precision_recall_fscore_support(actual, scores.argmax(axis=1), average="micro")
    accuracy = counting_metrics(actual, scores.argmax(axis=1), num_classes=5)(once(200))["accuracy"]
    assert micro[:3] == pytest.approx([accuracy[0]] * 3)


@pytest.mark.parametrize("num_classes", [2, 3, 40])
def test_ranking_metrics_equal_sklearn(num_classes: int) -> None:
    actual, scores = draw(400, num_classes, seed=num_classes)
    found = ranking_metrics(actual, scores)(once(400))
    hot = np.eye(num_classes)[actual]
    chosen = slice(1, 2) if num_classes == 2 else slice(None)
    assert len(np.unique(scores[:, 0])) < 400 or num_classes > 2, "scores must have ties"
    assert found["roc_auc"] == pytest.approx(reference.roc_auc_score(hot[:, chosen], scores[:, chosen]))
    assert found["pr_auc"] == pytest.approx(reference.average_precision_score(hot[:, chosen], scores[:, chosen]))


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 4)), min_size=3, max_size=30).filter(
        lambda rows: len({label for label, _, weight in rows if weight}) == 3
    )
)
def test_weights_stand_for_repeated_rows(rows: list[tuple[int, int, int]]) -> None:
    label, level, weight = (np.array(column) for column in zip(*rows, strict=True))
    scores = np.stack([level, level % 2, level // 2], axis=1).astype(np.float32)
    weights = np.stack([weight, np.ones_like(weight)], axis=1).astype(np.float32)
    repeated = np.repeat(np.arange(len(rows)), weight)

    def figures(actual: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> Figures:
        counted = counting_metrics(actual, scores.argmax(axis=1), num_classes=3)(weights)
        return {**counted, **ranking_metrics(actual, scores)(weights)}

    weighted = figures(label, scores, weights)
    plain = figures(label[repeated], scores[repeated], once(len(repeated)))
    assert weighted.keys() == plain.keys()
    for name, values in plain.items():
        np.testing.assert_allclose(weighted[name][..., 0], values[..., 0], rtol=1e-6)


def test_every_score_equal_is_chance() -> None:
    actual = np.array([0, 1, 1, 0, 1])
    found = ranking_metrics(actual, np.full((5, 2), 0.5, np.float32))(once(5))
    assert found["roc_auc"] == pytest.approx(0.5)
    assert found["pr_auc"] == pytest.approx(0.6)


def test_a_class_that_is_missing_is_left_out_of_the_mean() -> None:
    actual = np.array([0, 1, 0, 1])
    scores = np.array([[0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.5, 0.4, 0.1], [0.4, 0.4, 0.2]], np.float32)
    found = {**counting_metrics(actual, scores.argmax(axis=1), num_classes=3)(once(4))}
    found |= ranking_metrics(actual, scores)(once(4))
    assert found["f1_macro"] == pytest.approx(reference.f1_score(actual, scores.argmax(axis=1), average="macro"))
    assert np.isnan(found["class_f1"][2, 0])
    expected = np.mean([reference.roc_auc_score(actual == c, scores[:, c]) for c in (0, 1)])
    assert found["roc_auc"] == pytest.approx(expected)


def test_ranking_is_undefined_where_one_class_is_drawn() -> None:
    actual = np.array([0, 1])
    scores = np.array([[0.9, 0.1], [0.2, 0.8]], np.float32)
    found = ranking_metrics(actual, scores)(np.array([[2, 1], [0, 1]], np.float32))
    assert np.isnan(found["roc_auc"][0])
    assert found["roc_auc"][1] == 1


def test_a_constant_model_has_no_correlation() -> None:
    found = counting_metrics(np.array([0, 1, 1]), np.array([1, 1, 1]), num_classes=2)(once(3))
    assert found["mcc"] == 0
    assert found["precision_macro"] == pytest.approx((2 / 3) / 2)


def test_calibration_error_by_hand() -> None:
    # Bins (0.5, 0.75] and (0.75, 1]: 0.6 and 0.7, one right of two; 0.8 and 1.0, both right.
    actual = np.array([0, 1, 0, 1])
    scores = np.array([[0.6, 0.4], [0.7, 0.3], [0.8, 0.2], [0.0, 1.0]], np.float32)
    error = 0.5 * abs(0.5 - 0.65) + 0.5 * abs(1.0 - 0.9)
    assert calibration_metrics(actual, scores, num_bins=4)(once(4))["ece"] == pytest.approx(error)
    expected = [[0.65, 0.5, 2], [0.9, 1.0, 2]]
    np.testing.assert_allclose(calibration_curve(actual, scores, num_bins=4), expected, rtol=1e-6)


def test_calibration_error_follows_weights() -> None:
    actual = np.array([0, 1])
    scores = np.array([[0.9, 0.1], [0.9, 0.1]], np.float32)
    weights = np.array([[2, 0, 1], [0, 2, 1]], np.float32)
    found = calibration_metrics(actual, scores, num_bins=10)(weights)["ece"]
    assert found == pytest.approx([0.1, 0.9, 0.4])
