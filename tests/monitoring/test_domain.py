import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.stats import kstest
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score

from components.monitoring.domain import FOLDS, RIDGE, area_of_fold, domain_areas, tfidf
from components.monitoring.permutations import distance_of


def kernel_of(rows: np.ndarray) -> np.ndarray:
    return rows @ rows.T


def test_tfidf_is_sklearns() -> None:
    counts = csr_array(np.random.default_rng(0).poisson(0.7, (30, 12)).astype(float))
    expected = TfidfTransformer(sublinear_tf=True).fit_transform(counts).toarray()
    assert tfidf(counts).toarray() == pytest.approx(expected)


def test_a_text_without_tokens_has_no_direction() -> None:
    assert np.isfinite(tfidf(csr_array(np.array([[0.0, 0.0], [1.0, 2.0]]))).toarray()).all()


def test_area_of_a_fold_is_that_of_ridge_regression() -> None:
    random = np.random.default_rng(0)
    rows = random.normal(size=(60, 8))
    rows[:30, 0] += 1
    labels = np.where(np.arange(60) < 30, 1, -1).astype(np.float32)
    is_held_out = np.arange(60) % FOLDS == 0
    # the regression has no free constant, as here, where the mean of the labels is taken off
    model = Ridge(alpha=RIDGE, fit_intercept=False).fit(rows[~is_held_out], labels[~is_held_out])
    expected = roc_auc_score(labels[is_held_out] > 0, model.predict(rows[is_held_out]))
    assert area_of_fold(kernel_of(rows), labels[:, None], is_held_out)[0] == pytest.approx(expected)


def test_what_lies_apart_is_told_apart() -> None:
    rows = np.random.default_rng(0).normal(size=(200, 5))
    rows[:100, 1] += 3
    distance = distance_of(domain_areas(kernel_of(rows), num_window=100, num_permutations=499, seed=0))
    assert distance.value > 0.95
    assert distance.null_mean == pytest.approx(0.5, abs=0.02)
    assert distance.p_value == pytest.approx(1 / 500)


def test_p_values_of_what_is_alike_are_uniform() -> None:
    random = np.random.default_rng(3)
    found = [
        distance_of(
            domain_areas(kernel_of(random.normal(size=(60, 6))), num_window=30, num_permutations=99, seed=seed)
        ).p_value
        for seed in range(120)
    ]
    assert kstest(found, "uniform").pvalue > 0.01
