"""What the tables and plots of a language model are made from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.evaluate.bootstrap import intervals
from components.params import Bootstrap
from components.tasks.text_generation.evaluate.documents import Documents

MODEL = "model"

Found = dict[str, NDArray[np.float64]]
"""By name: a figure and the ends of its interval, (3,)."""


@dataclass(frozen=True)
class Judged:
    """The documents of the test split, and what the model and the n-grams say of each of their symbols."""

    documents: Documents
    log2: Mapping[str, Sequence[NDArray[np.float64]]]
    """By system (`model`, `byte_ngram`, `token_ngram`): of each document the log2-probability of each symbol."""
    xz: float
    """Bits per byte of all documents together; it cannot be told of one."""

    @property
    def bits(self) -> dict[str, NDArray[np.float64]]:
        """By system, the bits of each document, (N,)."""
        return {system: -np.array([one.sum() for one in found]) for system, found in self.log2.items()}

    @property
    def baselines(self) -> list[str]:
        """Whatever the model is compared with."""
        return ["xz", *(system for system in self.log2 if system != MODEL)]


def figures_of(judged: Judged, bootstrap: Bootstrap) -> Found:
    """Bits per byte of every system, and the model's gain on each baseline, from documents drawn again.

    All systems see the same draws, so the intervals of the gains are paired ones. That of xz, which has one figure for
    the split, is the model's own.
    """
    num_bytes, bits = judged.documents.num_bytes.astype(np.float64), judged.bits

    def statistic(weights: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
        drawn = weights.T.astype(np.float64)  # (S, N)
        size = drawn @ num_bytes
        per_byte = {system: drawn @ one / size for system, one in bits.items()} | {"xz": np.full(len(size), judged.xz)}
        gains = {f"gain_{name}": per_byte[name] - per_byte[MODEL] for name in judged.baselines}
        return per_byte | gains

    return intervals(statistic, num_rows=len(num_bytes), bootstrap=bootstrap)
