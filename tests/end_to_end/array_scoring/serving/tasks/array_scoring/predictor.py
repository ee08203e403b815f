"""Arrays in, probabilities out: the one path from an array of numbers to how probable the positive label is.

It needs onnxruntime and numpy only. A folder that it loads holds `model.onnx` and `predictor.json`.

Shapes: N arrays, B rows of a batch, V values of an array.
"""

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import TypedDict  # pydantic wants this one below Python 3.12

from serving.predictors.scores import DIGITS, Scores, softmax
from serving.predictors.session import open_session

ROUTE = "/score"
"""Where the service answers."""

MODEL = "model.onnx"
SETTINGS = "predictor.json"

Values = NDArray[np.float32]
Forward = Callable[[Values], NDArray[np.float32]]
"""values (B, V), scaled → logits (B, 2)."""


class Answer(TypedDict):
    """What is said of one row."""

    probability: float
    """Of the positive label."""


@dataclass(frozen=True)
class PredictorSettings:
    """predictor.json: how numbers are scaled, and what the probability is of."""

    labels: tuple[str, str]
    """The negative one and the positive one, in the order of the model's logits."""
    shape: tuple[int, ...]
    offset: float
    """The model reads (value - offset) / scale."""
    scale: float

    @property
    def num_values(self) -> int:
        return prod(self.shape)


def load_settings(path: Path) -> PredictorSettings:
    """Read predictor.json."""
    raw = json.loads(path.read_text(encoding="utf-8"))
    negative, positive = raw["labels"]
    return PredictorSettings(
        labels=(negative, positive), shape=tuple(raw["shape"]), offset=float(raw["offset"]), scale=float(raw["scale"])
    )


class Scorer:
    """A model's forward, as one call from arrays to probabilities."""

    def __init__(self, *, settings: PredictorSettings, forward: Forward, batch_size: int, threads: int) -> None:
        """`forward` takes batches of at most `batch_size` rows, on `threads` threads at once."""
        self.settings, self.forward, self.batch_size = settings, forward, batch_size
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="scorer") if threads > 1 else None

    @classmethod
    def load(cls, folder: Path, *, threads: int) -> "Scorer":
        """The compressed model of `folder`, one row a call, so that no row's score hangs on others."""
        session = open_session(folder / MODEL)

        def forward(values: Values) -> NDArray[np.float32]:
            return np.asarray(session.run(["logits"], {"values": values})[0])

        return cls(settings=load_settings(folder / SETTINGS), forward=forward, batch_size=1, threads=threads)

    @property
    def labels(self) -> tuple[str, str]:
        return self.settings.labels

    def predict(self, arrays: Sequence[Any] | NDArray[Any]) -> Scores:
        """The probability of each label for each array as the source has it, (N, 2)."""
        values = self.scaled(arrays)  # (N, V)
        starts = range(0, len(values), self.batch_size)
        run = map if self.pool is None or len(starts) == 1 else self.pool.map
        found = list(run(lambda start: softmax(self.forward(values[start : start + self.batch_size])), starts))
        return np.concatenate([np.zeros((0, 2), np.float32), *found])

    def probabilities(self, arrays: Sequence[Any] | NDArray[Any]) -> NDArray[np.float64]:
        """Of the positive label, (N,)."""
        return self.predict(arrays)[:, 1].astype(np.float64)

    def scaled(self, arrays: Sequence[Any] | NDArray[Any]) -> Values:
        """What the model reads, (N, V)."""
        values = np.asarray(arrays, np.float32).reshape(len(arrays), self.settings.num_values)
        return (values - np.float32(self.settings.offset)) / np.float32(self.settings.scale)

    def answers(self, probabilities: NDArray[np.float64]) -> list[Answer]:
        """What the service says of arrays with these probabilities, (N,)."""
        return [Answer(probability=round(one, DIGITS)) for one in probabilities.tolist()]
