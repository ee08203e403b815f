"""The judged documents of a language model, from which its figures, tables and plots are made.

Legend: N documents, S resamples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.evaluate.bootstrap import intervals
from components.params import Bootstrap
from components.tasks.text_generation.evaluate.documents import Documents

MODEL = "model"

Found = dict[str, NDArray[np.float64]]
"""A figure and the ends of its interval, (3,), by name."""


@dataclass(frozen=True)
class Judged:
    """The documents of the test split, and what the model and the n-grams say of each of their symbols."""

    documents: Documents
    log2: Mapping[str, Sequence[NDArray[np.float64]]]
    """The log2-probability of each symbol of each document, by system (`model`, `byte_ngram`, `token_ngram`)."""
    xz: float
    """The bits per byte of all documents together under xz, which cannot be told of one document."""

    @property
    def bits(self) -> dict[str, NDArray[np.float64]]:
        """The bits of each document, (N,), by system."""
        return {system: -np.array([one.sum() for one in found]) for system, found in self.log2.items()}

    @property
    def baselines(self) -> list[str]:
        """The names of the systems with which the model is compared."""
        return ["xz", *(system for system in self.log2 if system != MODEL)]


def figures_of(judged: Judged, bootstrap: Bootstrap) -> Found:
    """Return the bits per byte of every system, and the model's gain on each baseline, with bootstrap intervals.

    Documents are drawn again, and all systems see the same draws, so the intervals of the gains are paired ones. As xz
    has one figure for the split, the interval of the gain on it comes from the model alone.
    """
    num_bytes, bits = judged.documents.num_bytes.astype(np.float64), judged.bits

    def statistic(weights: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
        drawn = weights.T.astype(np.float64)  # (S, N)
        size = drawn @ num_bytes
        per_byte = {system: drawn @ one / size for system, one in bits.items()} | {"xz": np.full(len(size), judged.xz)}
        gains = {f"gain_{name}": per_byte[name] - per_byte[MODEL] for name in judged.baselines}
        return per_byte | gains

    return intervals(statistic, num_rows=len(num_bytes), bootstrap=bootstrap)
