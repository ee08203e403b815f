"""The detectors of a window: six for texts, five for arrays, each with a p-value.

length, means, spreads     Kolmogorov-Smirnov distance to the training rows
vocabulary                 population stability index of the commonest tokens
unknown                    rise in the share of tokens that the tokenizer does not know
domain                     how well a classifier tells the window from training rows
labels, scores             population stability of the predicted labels, and Kolmogorov-Smirnov distance of their
                           scores, to the validation split's as served
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from components.monitoring.inputs import Nulls, Reference
from components.monitoring.permutations import Distance, distance_of, draw, kolmogorov_smirnov, population_stability
from components.params import Monitoring

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
    """The result of one detector."""

    detector: str
    statistic: str
    """The kind of the statistic: ks, psi, auc or unknown."""
    distance: Distance
    is_alarm: bool
    reason: str
    """The alarm in words; empty without one."""


def detect(inputs: Sequence[Any], lengths: Sequence[int | None], scores: Any, reference: Reference,
           params: Monitoring) -> list[Finding]:  # fmt: skip
    """Ask every detector that the window allows: where the recipe keeps hashes, `inputs` holds None, and of the inputs
    only the lengths of texts can be compared."""
    is_hashed = any(one is None for one in inputs)
    if not is_hashed:
        nulls = reference.kind.nulls(inputs, reference, params)
    else:
        nulls = reference.kind.nulls_of_lengths(lengths, reference, params)
    nulls |= prediction_nulls(scores, reference, params)
    return [judged(name, distance_of(null), params, num_detectors=len(nulls)) for name, null in nulls.items()]


def judged(name: str, distance: Distance, params: Monitoring, *, num_detectors: int) -> Finding:
    """Judge a distance: it is an alarm where it is both surer than chance allows and large enough to matter."""
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
    """Return the statistics of the predicted labels and of their scores, window and draws; scores (W, L)."""
    pool = np.concatenate([scores, reference.scores])
    draws = draw(len(scores), num_rows=len(pool), num_draws=params.num_permutations, seed=params.seed)
    label = csr_array(one_hot_labels(pool.argmax(axis=1), num_labels=pool.shape[1]))
    return {
        "labels": population_stability(label, draws),
        "scores": kolmogorov_smirnov(pool.max(axis=1).astype(np.float64), draws),
    }


def one_hot_labels(labels: NDArray[np.int64], *, num_labels: int) -> NDArray[np.float32]:
    return np.eye(num_labels, dtype=np.float32)[labels]
