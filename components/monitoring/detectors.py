"""What is asked of a window: six questions of texts, five of arrays, each with a p-value.

length, means, spreads     Kolmogorov-Smirnov distance to the training rows
vocabulary                 population stability index of the commonest tokens
unknown                    rise in the share of tokens that the tokenizer does not know
domain                     how well a classifier tells the window from training rows
labels, scores             population stability of the predicted labels, and Kolmogorov-Smirnov distance of their
                           scores, to the validation split's as served
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

from components.monitoring.domain import MAX_ROWS, domain_areas, of_length_one, tfidf
from components.monitoring.permutations import (
    Distance,
    Null,
    distance_of,
    draw,
    kolmogorov_smirnov,
    population_stability,
    rise,
)
from components.monitoring.reference import Reference
from components.monitoring.tokens import commonest, count_tokens
from components.params import Monitoring
from serving.text import clean

WORDS = {
    "length": "the texts have other lengths",
    "vocabulary": "the texts have other words",
    "unknown": "the tokenizer knows fewer of the words",
    "domain": "a classifier tells the window from the training rows",
    "means": "the arrays have other means",
    "spreads": "the arrays have other spreads",
    "labels": "other labels are predicted",
    "scores": "the predictions have other scores",
}
STATISTICS = {
    "length": "ks", "vocabulary": "psi", "unknown": "unknown", "domain": "auc", "means": "ks", "spreads": "ks",
    "labels": "psi", "scores": "ks",
}  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One answer."""

    detector: str
    statistic: str
    """ks, psi, auc or unknown."""
    distance: Distance
    is_alarm: bool
    reason: str
    """In words, for an alarm; otherwise empty."""


Nulls = dict[str, Null]


def detect(inputs: Sequence[Any], lengths: Sequence[int | None], scores: Any, reference: Reference,
           params: Monitoring) -> list[Finding]:  # fmt: skip
    """Every detector that the window allows: where the recipe keeps hashes, `inputs` holds None, and of the inputs only
    the lengths of texts can be compared."""
    is_hashed = any(one is None for one in inputs)
    if not is_hashed:
        nulls = INPUTS[reference.task](inputs, reference, params)
    elif reference.task == "text_classification":
        known = np.array([length or 0 for length in lengths], np.float64)
        nulls = {"length": compared(known, lengths_of(reference.inputs), kolmogorov_smirnov, params)}
    else:
        nulls = {}
    nulls |= prediction_nulls(scores, reference, params)
    return [judged(name, distance_of(null), params, num_detectors=len(nulls)) for name, null in nulls.items()]


def judged(name: str, distance: Distance, params: Monitoring, *, num_detectors: int) -> Finding:
    """An alarm is both surer than chance allows and large enough to matter."""
    statistic = STATISTICS[name]
    least: float = getattr(params.min_effects, statistic)
    effect = distance.value - (distance.null_mean if statistic in ("psi", "ks") else 0.0)
    allowed = params.false_alarms / num_detectors
    is_alarm = distance.p_value <= allowed and effect >= least
    reason = (
        f"{WORDS[name]}: {statistic} {distance.value:.3f} (by chance {distance.null_mean:.3f}, 99 % below "
        f"{distance.null_high:.3f}; p {distance.p_value:.2g})"
    )
    return Finding(name, statistic, distance, is_alarm, reason if is_alarm else "")


def prediction_nulls(scores: Any, reference: Reference, params: Monitoring) -> Nulls:
    """Predicted labels and the scores of those; scores (W, L)."""
    pool = np.concatenate([scores, reference.scores])
    draws = draw(len(scores), num_rows=len(pool), num_draws=params.num_permutations, seed=params.seed)
    label = csr_array(one_hot_labels(pool.argmax(axis=1), num_labels=pool.shape[1]))
    return {
        "labels": population_stability(label, draws),
        "scores": kolmogorov_smirnov(pool.max(axis=1).astype(np.float64), draws),
    }


def one_hot_labels(labels: NDArray[np.int64], *, num_labels: int) -> NDArray[np.float32]:
    return np.eye(num_labels, dtype=np.float32)[labels]


def compared(
    window: NDArray[np.float64], reference: NDArray[np.float64],
    statistic: Callable[[NDArray[np.float64], Any], Null], params: Monitoring,
) -> Null:  # fmt: skip
    """A statistic of one number a row."""
    pool = np.concatenate([window, reference])
    draws = draw(len(window), num_rows=len(pool), num_draws=params.num_permutations, seed=params.seed)
    return statistic(pool, draws)


def text_nulls(inputs: Sequence[str], reference: Reference, params: Monitoring) -> Nulls:
    settings = reference.predictor.settings
    cleaned = [clean(text, unicode=settings.unicode, mask=settings.mask) for text in inputs]
    known = reference.tokens
    assert known is not None
    found = count_tokens(cleaned, reference.predictor)
    tokens, unknown = csr_array(vstack([found.counts, known.counts])), np.concatenate([found.unknown, known.unknown])
    draws = draw(len(inputs), num_rows=len(unknown), num_draws=params.num_permutations, seed=params.seed)
    totals = np.asarray(tokens.sum(axis=1), np.float64).ravel()
    rows = rows_to_tell_apart(len(inputs), len(unknown), seed=params.seed)
    weighted = tfidf(csr_array(tokens[rows]))
    return {
        "length": kolmogorov_smirnov(lengths_of([*cleaned, *reference.inputs]), draws),
        "vocabulary": population_stability(commonest(tokens, start=len(inputs)), draws),
        "unknown": rise(unknown, totals, draws),
        "domain": areas(np.asarray((weighted @ weighted.T).todense()), rows, len(inputs), params),
    }


def lengths_of(texts: Sequence[str]) -> NDArray[np.float64]:
    return np.array([len(text) for text in texts], np.float64)


def rows_to_tell_apart(num_window: int, num_rows: int, *, seed: int) -> NDArray[np.int64]:
    """Rows of the pool for the classifier: of the window, and as many of the reference."""
    random = np.random.default_rng(seed)
    size = min(num_window, num_rows - num_window, MAX_ROWS)
    of_window = random.choice(num_window, size, replace=False)
    return np.concatenate([of_window, num_window + random.choice(num_rows - num_window, size, replace=False)])


def areas(kernel: NDArray[np.float64], rows: NDArray[np.int64], num_window: int, params: Monitoring) -> Null:
    return domain_areas(
        kernel, num_window=int((rows < num_window).sum()), num_permutations=params.num_permutations, seed=params.seed
    )


def array_nulls(inputs: Sequence[Any], reference: Reference, params: Monitoring) -> Nulls:
    predictor = reference.predictor
    pool = np.concatenate([predictor.scaled(inputs), predictor.scaled(reference.inputs)])  # (N, V)
    draws = draw(len(inputs), num_rows=len(pool), num_draws=params.num_permutations, seed=params.seed)
    rows = rows_to_tell_apart(len(inputs), len(pool), seed=params.seed)
    centred = pool[rows] - pool[rows].mean(axis=0)
    even = of_length_one(csr_array(centred.astype(np.float64))).toarray()
    return {
        "means": kolmogorov_smirnov(pool.mean(axis=1).astype(np.float64), draws),
        "spreads": kolmogorov_smirnov(pool.std(axis=1).astype(np.float64), draws),
        "domain": areas(even @ even.T, rows, len(inputs), params),
    }


INPUTS: dict[str, Callable[[Sequence[Any], Reference, Monitoring], Nulls]] = {
    "text_classification": text_nulls,
    "array_classification": array_nulls,
}
