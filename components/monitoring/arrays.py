"""Arrays that a service receives: their means and spreads, and whether a classifier tells them from training rows."""

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_array

from components.monitoring.domain import of_length_one
from components.monitoring.inputs import MonitoredInputs, Nulls, Reference, areas, rows_to_tell_apart
from components.monitoring.permutations import draw, kolmogorov_smirnov
from components.monitoring.tokens import Tokens
from components.params import Monitoring
from serving.tasks.array_classification.predictor import Predictor


class ArrayInputs(MonitoredInputs):
    """Monitored inputs that are arrays of numbers, all of one length."""

    COLUMN = "values"
    TYPE = pa.list_(pa.float32())
    HAS_LENGTHS = False

    def load(self, bundle: Path, *, threads: int) -> Any:
        return Predictor.load(bundle, threads=threads)

    def tokens(self, inputs: Sequence[Any], predictor: Any) -> Tokens | None:
        return None

    def nulls(self, inputs: Sequence[Any], reference: "Reference", params: Monitoring) -> Nulls:
        scaled = reference.predictor.scaled
        pool = np.concatenate([scaled(inputs), scaled(reference.inputs)])  # (N, V)
        draws = draw(len(inputs), num_rows=len(pool), num_draws=params.num_permutations, seed=params.seed)
        rows = rows_to_tell_apart(len(inputs), len(pool), seed=params.seed)
        centred = pool[rows] - pool[rows].mean(axis=0)
        even = of_length_one(csr_array(centred.astype(np.float64))).toarray()
        return {
            "means": kolmogorov_smirnov(pool.mean(axis=1).astype(np.float64), draws),
            "spreads": kolmogorov_smirnov(pool.std(axis=1).astype(np.float64), draws),
            "domain": areas(even @ even.T, rows, len(inputs), params),
        }

    def nulls_of_lengths(self, lengths: Sequence[int | None], reference: "Reference", params: Monitoring) -> Nulls:
        return {}

    def kept(self, given: Any) -> list[float]:
        """Return the numbers as one flat list, however they are nested."""
        return np.asarray(given, np.float32).ravel().tolist()

    def key(self, kept: Any) -> Hashable:
        return tuple(kept)
