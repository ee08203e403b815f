import numpy as np
import pytest
from scipy.linalg import sqrtm

from components.tasks.image_generation.judging.frechet import Moments, frechet_distance, moments_of


def test_distance_of_normal_distributions_in_one_dimension_is_the_known_one() -> None:
    one = Moments(mean=np.array([1.0]), covariance=np.array([[4.0]]))
    two = Moments(mean=np.array([4.0]), covariance=np.array([[25.0]]))
    assert frechet_distance(one, two) == pytest.approx((1 - 4) ** 2 + (2 - 5) ** 2)


def test_distance_of_diagonal_covariances_is_that_of_their_deviations() -> None:
    one = Moments(mean=np.array([0.0, 1.0, 2.0]), covariance=np.diag([1.0, 9.0, 0.0]))
    two = Moments(mean=np.array([0.0, 3.0, 2.0]), covariance=np.diag([4.0, 1.0, 16.0]))
    assert frechet_distance(one, two) == pytest.approx(2**2 + (1 - 2) ** 2 + (3 - 1) ** 2 + (0 - 4) ** 2)


def test_distance_agrees_with_the_matrix_root() -> None:
    random = np.random.default_rng(0)
    one, two = (moments_of(random.normal(size=(200, 6)) @ random.normal(size=(6, 6)) + shift) for shift in (0.0, 0.5))
    root = sqrtm(one.covariance @ two.covariance).real
    expected = np.square(one.mean - two.mean).sum() + np.trace(one.covariance + two.covariance - 2 * root)
    assert frechet_distance(one, two) == pytest.approx(expected, rel=1e-8)
    assert frechet_distance(two, one) == pytest.approx(expected, rel=1e-8)


def test_set_is_no_distance_from_itself_even_where_a_feature_never_varies() -> None:
    features = np.random.default_rng(0).normal(size=(50, 4))
    features[:, 2] = 3.0
    moments = moments_of(features)
    assert frechet_distance(moments, moments) == pytest.approx(0, abs=1e-9)


def test_moments_are_those_of_numpy() -> None:
    features = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    moments = moments_of(features)
    assert np.allclose(moments.mean, features.mean(axis=0), atol=1e-6)
    assert np.allclose(moments.covariance, np.cov(features.T), atol=1e-6)
