"""A classifier that tries to tell the window from the reference: where it can, they differ, however many-sided.

As in Lopez-Paz and Oquab 2017, "Revisiting classifier two-sample tests". It is a ridge regression on +1 and -1, whose
held-out scores are linear in the labels: the same matrices score the real labels and every permutation of them, so that
the null distribution of the area under the ROC curve costs one product instead of thousands of trainings. Folds and
permutations keep the classes balanced, and the area is the mean of the folds'.

Legend: N rows, those of the window first, F features, D labellings, the first of which is the real one.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import csr_array, diags_array
from scipy.stats import rankdata

from components.monitoring.permutations import Null

FOLDS = 5
RIDGE = 1.0  # beside rows of length 1
MAX_ROWS = 600  # of each side: more make it no surer of what matters, and the time grows with the square


def tfidf(counts: csr_array) -> csr_array:
    """Weight rows (N, F) of token counts as TF-IDF of length 1; the idf is the pool's, which no labelling changes."""
    weighted = csr_array(counts, dtype=np.float64, copy=True)
    num_rows, num_features = len(weighted.indptr) - 1, int(weighted.indices.max(initial=0)) + 1
    weighted.resize(num_rows, num_features)
    frequency = np.bincount(weighted.indices, minlength=num_features)
    weighted.data = 1 + np.log(weighted.data)
    return of_length_one(csr_array(weighted @ diags_array(np.log((1 + num_rows) / (1 + frequency)) + 1)))


def of_length_one(rows: csr_array) -> csr_array:
    length = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())
    return csr_array(diags_array(1 / np.where(length > 0, length, 1)) @ rows)


def domain_areas(kernel: NDArray[np.float64], *, num_window: int, num_permutations: int, seed: int) -> Null:
    """Return the area under the ROC curve of the real labelling and of each permutation, (D,); kernel (N, N) holds the
    products of the rows, those of the window first."""
    random = np.random.default_rng(seed)
    is_window = np.arange(len(kernel)) < num_window
    fold = np.empty(len(kernel), np.int64)
    for side in (is_window, ~is_window):
        fold[side] = random.permutation(np.arange(side.sum()) % FOLDS)
    labels = labellings(is_window, fold, num_permutations=num_permutations, random=random)  # (N, D)
    return np.mean([area_of_fold(kernel, labels, fold == number) for number in range(FOLDS)], axis=0)


def labellings(
    is_window: NDArray[np.bool_], fold: NDArray[np.int64], *, num_permutations: int, random: np.random.Generator
) -> NDArray[np.float32]:
    """Return the labellings (N, D): +1 for the window and -1 for the reference, then permutations
    of these within each fold."""
    real = np.where(is_window, 1, -1).astype(np.float32)
    labels = np.repeat(real[:, None], 1 + num_permutations, axis=1)
    for number in range(FOLDS):
        members = np.flatnonzero(fold == number)
        labels[members, 1:] = random.permuted(labels[members, 1:], axis=0)
    return labels


def area_of_fold(
    kernel: NDArray[np.float64], labels: NDArray[np.float32], is_held_out: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the areas on the rows of one fold, (D,), scored by the regressions on the other folds."""
    rest = ~is_held_out
    inner = kernel[np.ix_(rest, rest)] + RIDGE * np.eye(int(rest.sum()))
    scoring = cho_solve(cho_factor(inner), kernel[np.ix_(rest, is_held_out)]).T.astype(np.float32)  # (held out, rest)
    scores = scoring @ (labels[rest] - labels[rest].mean(axis=0))
    ranks = rankdata(scores, axis=0)
    positive = labels[is_held_out] > 0
    num_positive = positive.sum(axis=0)
    above = (ranks * positive).sum(axis=0) - num_positive * (num_positive + 1) / 2
    return above / (num_positive * (len(positive) - num_positive))
