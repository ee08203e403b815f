"""The figures of a classifier, computed for many weightings of its rows at once.

Each public function here reads the predictions once and returns a `Statistic`, which turns the weights of the rows in
every resample into the figures of each resample. Weights of one give the split's own figures, so a figure and its
bootstrap interval come from the same lines. All agree with scikit-learn's functions of the same names.

Legend: N rows, K classes, S resamples, P rows of one class, M bins.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from components.evaluate.bootstrap import Figures, Statistic, Weights

Labels = NDArray[np.int64]
Scores = NDArray[np.float32]


def counting_metrics(actual: Labels, predicted: Labels, *, num_classes: int) -> Statistic:
    """Return the statistic of accuracy, precision, recall, F1 and MCC.

    A macro mean is over the classes that occur, as a label or as a prediction; a class without a prediction has
    precision 0. With one label per row, the micro means all equal the accuracy.
    """
    hit = actual == predicted
    tallies = [tally(actual, num_classes), tally(predicted, num_classes), tally(actual, num_classes, where=hit)]

    def figures(weights: Weights) -> Figures:
        rows, guesses, hits = ((counts @ weights).astype(np.float64) for counts in tallies)  # (K, S) each
        occurs = rows + guesses > 0
        precision, recall = ratio(hits, guesses), ratio(hits, rows)
        f1 = ratio(2 * hits, rows + guesses)
        return {
            "accuracy": ratio(hits.sum(axis=0), rows.sum(axis=0)),
            "precision_macro": mean_where(precision, occurs),
            "recall_macro": mean_where(recall, occurs),
            "f1_macro": mean_where(f1, occurs),
            "mcc": matthews(rows, guesses, hits),
            "class_precision": np.where(occurs, precision, np.nan),
            "class_recall": np.where(occurs, recall, np.nan),
            "class_f1": np.where(occurs, f1, np.nan),
        }

    return figures


def tally(labels: Labels, num_classes: int, *, where: NDArray[np.bool_] | None = None) -> csr_array:
    """Return the matrix (K, N) that counts the rows of each class, weighted by (N, S), when the two are multiplied."""
    counted = np.ones(len(labels), np.float32) if where is None else where.astype(np.float32)
    return csr_array((counted, (labels, np.arange(len(labels)))), shape=(num_classes, len(labels)))


def matthews(rows: NDArray[np.float64], guesses: NDArray[np.float64], hits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the multi-class Matthews correlation coefficient (Gorodkin 2004) of counts (K, S), as (S,); 0 where the
    labels or the predictions are constant."""
    total = rows.sum(axis=0)
    covariance = hits.sum(axis=0) * total - (rows * guesses).sum(axis=0)
    spread = (total**2 - (rows**2).sum(axis=0)) * (total**2 - (guesses**2).sum(axis=0))
    return ratio(covariance, np.sqrt(spread))


def ranking_metrics(actual: Labels, scores: Scores) -> Statistic:
    """Return the statistic of ROC-AUC and PR-AUC (average precision).

    With two classes, both are of label 1 against label 0; with more, they are the mean of each class against the rest.
    A class with no row, or with every row, has neither and is left out of the mean.
    """
    num_classes = scores.shape[1]
    rankings = [rank(actual == c, scores[:, c]) for c in ([1] if num_classes == 2 else range(num_classes))]

    def figures(weights: Weights) -> Figures:
        found = np.stack([areas(ranking, weights) for ranking in rankings])  # (K, 2, S)
        defined = ~np.isnan(found)
        roc_auc, pr_auc = mean_where(np.where(defined, found, 0), defined)
        return {"roc_auc": roc_auc, "pr_auc": pr_auc}

    return figures


@dataclass(frozen=True)
class Ranking:
    """The rows in order of falling score, with the places of the P rows of one class; rows of equal score count as one
    step."""

    order: NDArray[np.int32]
    """The row numbers in order of falling score, (N,)."""
    place: NDArray[np.int64]
    """The place in the order of each row of the class, (P,)."""
    above: NDArray[np.int64]
    """The number of rows with a higher score, (P,)."""
    through: NDArray[np.int64]
    """The number of rows with an equal or higher score, (P,)."""
    hits_above: NDArray[np.int64]
    """The number of rows counted in `above` that are of the class, (P,)."""
    hits_through: NDArray[np.int64]
    """The number of rows counted in `through` that are of the class, (P,)."""


def rank(positive: NDArray[np.bool_], scores: NDArray[np.float32]) -> Ranking:
    """Rank all rows by score, and find the rows of one class among them."""
    order = np.argsort(-scores, kind="stable").astype(np.int32)
    falling = -scores[order]
    place = np.flatnonzero(positive[order])
    above = np.searchsorted(falling, falling[place], side="left")
    through = np.searchsorted(falling, falling[place], side="right")
    hits_above, hits_through = np.searchsorted(place, above), np.searchsorted(place, through)
    return Ranking(
        order=order, place=place, above=above, through=through, hits_above=hits_above, hits_through=hits_through
    )


def areas(ranking: Ranking, weights: Weights) -> NDArray[np.float64]:
    """Return the ROC-AUC and average precision of each resample, (2, S); NaN where the class or its complement is
    missing."""
    ordered = weights[ranking.order]  # (N, S)
    positive = ordered[ranking.place]  # (P, S)
    seen = running(ordered)  # (N + 1, S)
    hits = running(positive)  # (P + 1, S)
    hits_through = hits[ranking.hits_through]  # (P, S)
    misses_above = seen[ranking.above] - hits[ranking.hits_above]
    misses_through = seen[ranking.through] - hits_through
    num_positive, num_negative = hits[-1].astype(np.float64), (seen[-1] - hits[-1]).astype(np.float64)
    passed = (positive * (misses_above + misses_through)).sum(axis=0, dtype=np.float64) / 2
    precise = (positive * ratio(hits_through, hits_through + misses_through)).sum(axis=0, dtype=np.float64)
    roc_auc = 1 - ratio(passed, num_positive * num_negative)
    found = np.stack([roc_auc, ratio(precise, num_positive)])
    return np.where((num_positive > 0) & (num_negative > 0), found, np.nan)


def running(weights: Weights) -> Weights:
    """Return the sums of the first 0, 1, … N rows, (N + 1, S)."""
    sums = np.zeros((len(weights) + 1, weights.shape[1]), np.float32)
    np.cumsum(weights, axis=0, out=sums[1:])
    return sums


def calibration_metrics(actual: Labels, scores: Scores, *, num_bins: int) -> Statistic:
    """Return the statistic of the expected calibration error of the predicted label's score, over `num_bins` bins of
    equal width (Guo et al. 2017)."""
    bins, confidence, hit = binned(actual, scores, num_bins=num_bins)
    gaps = csr_array((hit - confidence, (bins, np.arange(len(bins)))), shape=(num_bins, len(bins)))  # (M, N)

    def figures(weights: Weights) -> Figures:
        return {"ece": np.abs(gaps @ weights).sum(axis=0) / weights.sum(axis=0, dtype=np.float64)}

    return figures


def binned(
    actual: Labels, scores: Scores, *, num_bins: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]]:
    """Return, for each row, its confidence bin (a bin includes its upper end), its confidence, and whether the
    prediction is right, each (N,)."""
    confidence = scores.max(axis=1).astype(np.float64)
    bins = np.clip(np.ceil(confidence * num_bins).astype(np.int64) - 1, 0, num_bins - 1)
    return bins, confidence, scores.argmax(axis=1) == actual


def calibration_curve(actual: Labels, scores: Scores, *, num_bins: int) -> NDArray[np.float64]:
    """Return, for each bin that holds rows, the mean confidence, the accuracy and the number of rows, (M, 3)."""
    bins, confidence, hit = binned(actual, scores, num_bins=num_bins)
    counts = np.bincount(bins, minlength=num_bins)
    sums = [np.bincount(bins, weights=values, minlength=num_bins) for values in (confidence, hit)]
    curve = np.stack([*(ratio(total, counts) for total in sums), counts.astype(np.float64)], axis=1)
    return curve[counts > 0]


def ratio(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    """Return `part / whole`, and 0 where `whole` is 0."""
    return np.divide(part, whole, out=np.zeros(part.shape), where=whole > 0)


def mean_where(values: NDArray[np.float64], where: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the mean over the first axis of the values where `where` is true; NaN where none is."""
    counted = where.sum(axis=0)
    return np.where(counted > 0, np.where(where, values, 0).sum(axis=0) / np.maximum(counted, 1), np.nan)
