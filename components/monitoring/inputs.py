"""What monitoring must know of what a service is asked: how it is read, compared with training rows, and kept."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from components.monitoring.domain import MAX_ROWS, domain_areas
from components.monitoring.permutations import Null, draw
from components.monitoring.tokens import Tokens
from components.params import Monitoring

if TYPE_CHECKING:
    from components.monitoring.reference import Reference

Nulls = dict[str, Null]
"""By the name of the detector: a statistic of the window, and what it is by chance."""


class MonitoredInputs(ABC):
    """One kind of inputs, such as texts."""

    COLUMN: ClassVar[str]
    """Of the splits, and of the file of what feedback has labelled."""
    TYPE: ClassVar[pa.DataType]
    """Of that column."""
    HAS_LENGTHS: ClassVar[bool]
    """Whether the inputs have lengths of their own, which are shown."""

    @abstractmethod
    def load(self, bundle: Path, *, threads: int) -> Any:
        """The predictor of a bundle: `labels`, and `predict(inputs)` → scores (N, L)."""

    @abstractmethod
    def tokens(self, inputs: Sequence[Any], predictor: Any) -> Tokens | None:
        """What the inputs are made of, as the predictor reads them; None where they have no tokens."""

    @abstractmethod
    def nulls(self, inputs: Sequence[Any], reference: "Reference", params: Monitoring) -> Nulls:
        """How a window's inputs differ from the training rows."""

    @abstractmethod
    def nulls_of_lengths(self, lengths: Sequence[int | None], reference: "Reference", params: Monitoring) -> Nulls:
        """The same, where the log kept no more of the inputs than their lengths."""

    def scores_of(self, answer: Any, labels: Sequence[str]) -> list[float]:
        """The score of each label in an answer of the log; a classifier's, unless a task answers otherwise."""
        return [answer["scores"][label] for label in labels]

    def predicted(self, answer: Any) -> str | None:
        """The label that an answer of the log gives; None where it names none."""
        return answer["label"]

    @abstractmethod
    def kept(self, given: Any) -> Any:
        """An input as the file of feedback keeps it."""

    @abstractmethod
    def key(self, kept: Any) -> Hashable:
        """What makes two kept inputs one."""


def compared(
    window: NDArray[np.float64], reference: NDArray[np.float64],
    statistic: Callable[[NDArray[np.float64], Any], Null], params: Monitoring,
) -> Null:  # fmt: skip
    """A statistic of one number a row."""
    pool = np.concatenate([window, reference])
    draws = draw(len(window), num_rows=len(pool), num_draws=params.num_permutations, seed=params.seed)
    return statistic(pool, draws)


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
