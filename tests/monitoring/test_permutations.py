"""The statistics agree with scipy and with cases worked out by hand, and their p-values are what they say."""

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.stats import ks_2samp, kstest

from components.monitoring.permutations import (
    distance_of,
    draw,
    kolmogorov_smirnov,
    population_stability,
    rise,
)


def test_ks_is_scipys() -> None:
    random = np.random.default_rng(0)
    window, reference = random.integers(0, 50, 40) * 1.0, random.integers(10, 60, 300) * 1.0
    draws = draw(40, num_rows=340, num_draws=10, seed=0)
    assert kolmogorov_smirnov(np.concatenate([window, reference]), draws)[0] == pytest.approx(
        ks_2samp(window, reference).statistic
    )


def test_ks_of_many_different_values_is_near_scipys() -> None:
    random = np.random.default_rng(0)
    window, reference = random.normal(0.5, 1, 400), random.normal(0, 1, 4000)
    draws = draw(400, num_rows=4400, num_draws=5, seed=0)
    found = kolmogorov_smirnov(np.concatenate([window, reference]), draws)[0]
    assert found == pytest.approx(ks_2samp(window, reference).statistic, abs=0.01)


def test_stability_index_is_as_by_hand() -> None:
    # the window has (3, 1), the reference (2, 6); with half a count each: (3.5, 1.5) of 5 and (2.5, 6.5) of 9
    features = np.zeros((12, 2))
    features[[0, 1, 2, 4, 5], 0] = 1
    features[[3, 6, 7, 8, 9, 10, 11], 1] = 1
    p, q = np.array([3.5, 1.5]) / 5, np.array([2.5, 6.5]) / 9
    found = population_stability(csr_array(features), draw(4, num_rows=12, num_draws=3, seed=0))
    assert found[0] == pytest.approx(((p - q) * np.log(p / q)).sum())


def test_rise_is_the_difference_of_the_shares() -> None:
    part, whole = np.array([1.0, 1, 0, 0, 1]), np.array([2.0, 2, 2, 2, 2])
    found = rise(part, whole, draw(2, num_rows=5, num_draws=4, seed=0))
    assert found[0] == pytest.approx(2 / 4 - 1 / 6)


def test_each_draw_takes_different_rows_of_the_pool() -> None:
    draws = draw(7, num_rows=30, num_draws=50, seed=0).toarray()
    assert draws.shape == (30, 51)
    assert set(draws.sum(axis=0).tolist()) == {7}
    assert draws[:7, 0].sum() == 7
    assert len({tuple(column) for column in draws.T.tolist()}) > 40


def test_p_values_of_windows_without_drift_are_uniform() -> None:
    random = np.random.default_rng(1)
    found: list[float] = []
    for seed in range(150):
        pool = np.round(random.gamma(3, 30, 400))
        found.append(distance_of(kolmogorov_smirnov(pool, draw(60, num_rows=400, num_draws=199, seed=seed))).p_value)
    assert kstest(found, "uniform").pvalue > 0.01


def test_a_window_from_elsewhere_is_far_away() -> None:
    random = np.random.default_rng(2)
    pool = np.concatenate([random.normal(1.5, 1, 100), random.normal(0, 1, 500)])
    distance = distance_of(kolmogorov_smirnov(pool, draw(100, num_rows=600, num_draws=999, seed=0)))
    assert distance.p_value == pytest.approx(0.001)
    assert distance.value > 3 * distance.null_high
    assert distance.null_mean < distance.null_high
