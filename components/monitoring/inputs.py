"""The interface to a kind of inputs that a service receives: how they are read, compared
with training rows, and kept."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from components.monitoring.domain import MAX_ROWS, domain_areas
from components.monitoring.permutations import Null, draw
from components.monitoring.tokens import Tokens
from components.params import Monitoring
from serving.predictors.scores import Scores

Nulls = dict[str, Null]
"""By the name of the detector, its statistic for the window and for each draw of chance."""


class MonitoredInputs(ABC):
    """A kind of inputs that is monitored, such as texts."""

    COLUMN: ClassVar[str]
    """The name of the inputs' column in the splits, and in the file of rows that feedback has labelled."""
    TYPE: ClassVar[pa.DataType]
    """The type of that column."""
    HAS_LENGTHS: ClassVar[bool]
    """Whether the inputs have lengths of their own, which are shown."""

    @abstractmethod
    def load(self, bundle: Path, *, threads: int) -> Any:
        """Load the predictor of a bundle, which has `labels`, and `predict(inputs)` → scores (N, L)."""

    @abstractmethod
    def tokens(self, inputs: Sequence[Any], predictor: Any) -> Tokens | None:
        """Return the tokens of the inputs as the predictor reads them; None where they have none."""

    @abstractmethod
    def nulls(self, inputs: Sequence[Any], reference: "Reference", params: Monitoring) -> Nulls:
        """Compare a window's inputs with the training rows: the statistics of each detector."""

    @abstractmethod
    def nulls_of_lengths(self, lengths: Sequence[int | None], reference: "Reference", params: Monitoring) -> Nulls:
        """Compare a window with the training rows by the lengths of its inputs, where the log kept no more of them."""

    def scores_of(self, answer: Any, labels: Sequence[str]) -> list[float]:
        """Return the score of each label in an answer of the log: a classifier's, unless a task answers otherwise."""
        return [answer["scores"][label] for label in labels]

    def predicted(self, answer: Any) -> str | None:
        """Return the label that an answer of the log gives; None where it names none."""
        return answer["label"]

    @abstractmethod
    def kept(self, given: Any) -> Any:
        """Return an input as the file of feedback keeps it."""

    @abstractmethod
    def key(self, kept: Any) -> Hashable:
        """Return what identifies a kept input: two with the same key count as one."""


@dataclass(frozen=True)
class Reference:
    """The training rows of a version, and its answers on its validation split, with which a window is compared."""

    kind: MonitoredInputs
    labels: Sequence[str]
    inputs: Sequence[Any]
    """The inputs of the training split: texts, or arrays."""
    scores: Scores
    """The scores of the validation split, as served, (N, L)."""
    actual: NDArray[np.int64]
    """The right labels of the validation split, as label numbers, (N,)."""
    predictor: Any
    """The predictor of the bundle."""
    tokens: Tokens | None
    """The tokens of the texts of the training split; None for arrays."""


def compared(
    window: NDArray[np.float64], reference: NDArray[np.float64],
    statistic: Callable[[NDArray[np.float64], Any], Null], params: Monitoring,
) -> Null:  # fmt: skip
    """Compare one number a row of window (W,) and reference: the statistic of the window and of each draw, (D,)."""
    pool = np.concatenate([window, reference])
    draws = draw(len(window), num_rows=len(pool), num_draws=params.num_permutations, seed=params.seed)
    return statistic(pool, draws)


def lengths_of(texts: Sequence[str]) -> NDArray[np.float64]:
    return np.array([len(text) for text in texts], np.float64)


def rows_to_tell_apart(num_window: int, num_rows: int, *, seed: int) -> NDArray[np.int64]:
    """Draw the rows of the pool for the classifier: some of the window, and as many of the
    reference, at most MAX_ROWS each."""
    random = np.random.default_rng(seed)
    size = min(num_window, num_rows - num_window, MAX_ROWS)
    of_window = random.choice(num_window, size, replace=False)
    return np.concatenate([of_window, num_window + random.choice(num_rows - num_window, size, replace=False)])


def areas(kernel: NDArray[np.float64], rows: NDArray[np.int64], num_window: int, params: Monitoring) -> Null:
    return domain_areas(
        kernel, num_window=int((rows < num_window).sum()), num_permutations=params.num_permutations, seed=params.seed
    )
