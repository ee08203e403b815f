import numpy as np
import pytest
from numpy.typing import NDArray

from components.evaluate import bootstrap as module
from components.evaluate.bootstrap import intervals, resamples
from components.evaluate.classification.metrics import Figures, Weights, counting_metrics, ranking_metrics
from components.params import Bootstrap

SETTINGS = Bootstrap(num_samples=400, seed=3, confidence=0.95)


def accuracy_of(hit: NDArray[np.bool_]) -> Figures:
    statistic = counting_metrics(np.zeros(len(hit), np.int64), (~hit).astype(np.int64), num_classes=2)
    return intervals(statistic, num_rows=len(hit), bootstrap=SETTINGS)


def test_an_interval_equals_the_naive_loop() -> None:
    values = np.random.default_rng(0).normal(size=50)

    def mean(weights: Weights) -> Figures:
        return {"mean": values @ weights / weights.sum(axis=0)}

    random = np.random.default_rng(SETTINGS.seed)
    samples = [values[random.integers(50, size=50)].mean() for _ in range(SETTINGS.num_samples)]
    found = intervals(mean, num_rows=50, bootstrap=SETTINGS)["mean"]
    np.testing.assert_allclose(found, [values.mean(), *np.quantile(samples, [0.025, 0.975])], rtol=1e-5)


def test_an_interval_of_a_share_is_near_the_normal_one() -> None:
    hit = np.arange(1000) < 800
    value, low, high = accuracy_of(hit)["accuracy"]
    width = 1.96 * np.sqrt(0.8 * 0.2 / 1000)
    assert (low, value, high) == pytest.approx((0.8 - width, 0.8, 0.8 + width), abs=0.005)


def test_the_draws_are_those_of_the_seed_whatever_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.concatenate(list(resamples(30, SETTINGS)), axis=1)
    monkeypatch.setattr(module, "CHUNK_WEIGHTS", 30 * 7)
    pieces = list(resamples(30, SETTINGS))
    assert len(pieces) == -(-400 // 7)
    np.testing.assert_array_equal(whole, np.concatenate(pieces, axis=1))
    other = np.concatenate(list(resamples(30, SETTINGS.model_copy(update={"seed": 4}))), axis=1)
    assert (whole != other).any()


def test_every_resample_draws_as_many_rows() -> None:
    weights = np.concatenate(list(resamples(20, SETTINGS)), axis=1)
    assert weights.shape == (20, 400)
    assert (weights.sum(axis=0) == 20).all()


def test_a_class_that_some_resamples_miss_still_gives_an_interval() -> None:
    actual = np.array([0] * 19 + [1])
    scores = np.linspace(1, 0, 20, dtype=np.float32)
    statistic = ranking_metrics(actual, np.stack([scores, 1 - scores], axis=1))
    missed = sum(int((weights[19] == 0).sum()) for weights in resamples(20, SETTINGS))
    assert missed > 50
    assert intervals(statistic, num_rows=20, bootstrap=SETTINGS)["roc_auc"] == pytest.approx([1, 1, 1])


def test_a_perfect_and_a_useless_model_have_intervals_of_one_point() -> None:
    assert accuracy_of(np.ones(20, np.bool_))["accuracy"] == pytest.approx([1, 1, 1])
    assert accuracy_of(np.zeros(20, np.bool_))["accuracy"] == pytest.approx([0, 0, 0])


def test_higher_confidence_is_wider() -> None:
    statistic = counting_metrics(np.arange(100) % 2, np.arange(100) % 3 % 2, num_classes=2)
    _, low, high = intervals(statistic, num_rows=100, bootstrap=SETTINGS)["accuracy"]
    wide = Bootstrap(num_samples=400, seed=3, confidence=0.99)
    _, lower, higher = intervals(statistic, num_rows=100, bootstrap=wide)["accuracy"]
    assert lower < low < high < higher
