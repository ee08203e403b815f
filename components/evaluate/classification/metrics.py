"""The figures of a classifier, computed for many weightings of its rows at once.

Each function here reads the predictions once and gives a `Statistic`: from how often every row counts in every
resample to the figures of each resample. Weights of one give the split's own figures, so a figure and its bootstrap
interval come from the same lines. All agree with scikit-learn's functions of the same names.

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
    """Accuracy, precision, recall, F1 and MCC.

    A macro mean is over the classes that occur, as a label or as a prediction; a class without a prediction has
    precision 0. The micro means of one label a row all equal the accuracy.
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
    """The matrix (K, N) that counts the rows of each class when it is multiplied by weights (N, S)."""
    counted = np.ones(len(labels), np.float32) if where is None else where.astype(np.float32)
    return csr_array((counted, (labels, np.arange(len(labels)))), shape=(num_classes, len(labels)))


def matthews(rows: NDArray[np.float64], guesses: NDArray[np.float64], hits: NDArray[np.float64]) -> NDArray[np.float64]:
    """The multi-class correlation coefficient (Gorodkin 2004) of counts (K, S); 0 where one side is constant."""
    total = rows.sum(axis=0)
    covariance = hits.sum(axis=0) * total - (rows * guesses).sum(axis=0)
    spread = (total**2 - (rows**2).sum(axis=0)) * (total**2 - (guesses**2).sum(axis=0))
    return ratio(covariance, np.sqrt(spread))


def ranking_metrics(actual: Labels, scores: Scores) -> Statistic:
    """ROC-AUC and PR-AUC (average precision): of label 1 against label 0, or the mean of one class against the rest.

    A class without a row, or with every row, has neither, and is left out of the mean.
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
    """The rows by falling score, and where the P rows of the class stand; rows of equal score are one step."""

    order: NDArray[np.int32]
    """(N,)"""
    place: NDArray[np.int64]
    """Of each row of the class in the order, (P,)."""
    above: NDArray[np.int64]
    """Rows with a higher score, (P,)."""
    through: NDArray[np.int64]
    """Rows with a score as high or higher, (P,)."""
    hits_above: NDArray[np.int64]
    """Those of `above` that are of the class, (P,)."""
    hits_through: NDArray[np.int64]
    """Those of `through` that are of the class, (P,)."""


def rank(positive: NDArray[np.bool_], scores: NDArray[np.float32]) -> Ranking:
    """Rank the rows of one class among all."""
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
    """ROC-AUC and average precision of each resample, (2, S); NaN where the class or its complement is missing."""
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
    """Sums of the first 0, 1, … N rows, (N + 1, S)."""
    sums = np.zeros((len(weights) + 1, weights.shape[1]), np.float32)
    np.cumsum(weights, axis=0, out=sums[1:])
    return sums


def calibration_metrics(actual: Labels, scores: Scores, *, num_bins: int) -> Statistic:
    """Expected calibration error of the predicted label's score (Guo et al. 2017): bins of equal width."""
    bins, confidence, hit = binned(actual, scores, num_bins=num_bins)
    gaps = csr_array((hit - confidence, (bins, np.arange(len(bins)))), shape=(num_bins, len(bins)))  # (M, N)

    def figures(weights: Weights) -> Figures:
        return {"ece": np.abs(gaps @ weights).sum(axis=0) / weights.sum(axis=0, dtype=np.float64)}

    return figures


def binned(
    actual: Labels, scores: Scores, *, num_bins: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]]:
    """For each row: the bin of its confidence (a bin holds its upper end), the confidence, whether it is right."""
    confidence = scores.max(axis=1).astype(np.float64)
    bins = np.clip(np.ceil(confidence * num_bins).astype(np.int64) - 1, 0, num_bins - 1)
    return bins, confidence, scores.argmax(axis=1) == actual


def calibration_curve(actual: Labels, scores: Scores, *, num_bins: int) -> NDArray[np.float64]:
    """For each bin that holds rows: mean confidence, accuracy, number of rows, (M, 3)."""
    bins, confidence, hit = binned(actual, scores, num_bins=num_bins)
    counts = np.bincount(bins, minlength=num_bins)
    sums = [np.bincount(bins, weights=values, minlength=num_bins) for values in (confidence, hit)]
    curve = np.stack([*(ratio(total, counts) for total in sums), counts.astype(np.float64)], axis=1)
    return curve[counts > 0]


def ratio(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    """`part / whole`, and 0 where `whole` is 0."""
    return np.divide(part, whole, out=np.zeros(part.shape), where=whole > 0)


def mean_where(values: NDArray[np.float64], where: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The mean over the first axis of the values that count; NaN where none does."""
    counted = where.sum(axis=0)
    return np.where(counted > 0, np.where(where, values, 0).sum(axis=0) / np.maximum(counted, 1), np.nan)
