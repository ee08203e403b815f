"""Texts that a service receives: their lengths, their words, and whether a classifier tells them from training rows."""

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_array, vstack

from components.monitoring.domain import tfidf
from components.monitoring.inputs import (
    MonitoredInputs,
    Nulls,
    Reference,
    areas,
    compared,
    lengths_of,
    rows_to_tell_apart,
)
from components.monitoring.permutations import draw, kolmogorov_smirnov, population_stability, rise
from components.monitoring.tokens import Tokens, commonest, count_tokens
from components.params import Monitoring
from serving.predictors.text import clean
from serving.tasks.text_classification.predictor import Predictor


class TextInputs(MonitoredInputs):
    """Monitored inputs that are texts; blanks around a text do not count."""

    COLUMN = "text"
    TYPE = pa.string()
    HAS_LENGTHS = True

    def load(self, bundle: Path, *, threads: int) -> Any:
        return Predictor.load(bundle, threads=threads)

    def tokens(self, inputs: Sequence[Any], predictor: Any) -> Tokens | None:
        return count_tokens(inputs, predictor)

    def nulls(self, inputs: Sequence[str], reference: "Reference", params: Monitoring) -> Nulls:
        settings = reference.predictor.settings
        cleaned = [clean(text, unicode=settings.unicode, mask=settings.mask, emoji=settings.emoji) for text in inputs]
        known = reference.tokens
        assert known is not None
        found = count_tokens(cleaned, reference.predictor)
        tokens = csr_array(vstack([found.counts, known.counts]))
        unknown = np.concatenate([found.unknown, known.unknown])
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

    def nulls_of_lengths(self, lengths: Sequence[int | None], reference: "Reference", params: Monitoring) -> Nulls:
        known = np.array([length or 0 for length in lengths], np.float64)
        return {"length": compared(known, lengths_of(reference.inputs), kolmogorov_smirnov, params)}

    def kept(self, given: Any) -> str:
        return given.strip()

    def key(self, kept: Any) -> Hashable:
        return kept.strip()
