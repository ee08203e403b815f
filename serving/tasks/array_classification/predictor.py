"""The one path from an array of numbers (an image's pixels too) to the scores of its labels.

It needs onnxruntime and numpy only. A folder that it loads holds `model.onnx` and `predictor.json`, `calibration.json`
where its scores are calibrated, and `batching.json` where its calls may have several rows.

Shapes: N arrays, B rows of a batch, V values of an array, L labels.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.bundle import reading
from serving.predictors.batching import Workers, load_batch_size
from serving.predictors.calibration import Calibration, load_calibration
from serving.predictors.scores import ScoredLabel, Scores, answers_of, softmax
from serving.predictors.session import open_session

ROUTE = "/classify"
"""The path on which the service answers."""

MODEL = "model.onnx"
SETTINGS = "predictor.json"
INPUT = "raw_values"
"""The input of a graph that scales the values itself; a bundle of an earlier release has one that does not."""

BATCH_SIZE = 256
"""The most rows of a call, where answers do not depend on it."""

Values = NDArray[np.float32]
Forward = Callable[[Values], NDArray[np.float32]]
"""A function from the values (B, V) that the source has to logits (B, L)."""


@dataclass(frozen=True)
class PredictorSettings:
    """The contents of predictor.json: the scaling of numbers, and the meaning of the scores."""

    labels: tuple[str, ...]
    """The labels, in the order of the model's logits."""
    shape: tuple[int, ...]
    """The shape of an array: (height, width) of a grey image, or (length,) of a vector."""
    offset: float
    """The number that is subtracted: the model reads (value - offset) / scale."""
    scale: float

    @property
    def num_values(self) -> int:
        return prod(self.shape)

    def values_of(self, arrays: Sequence[Any] | NDArray[Any]) -> Values:
        """Return the values of N arrays in rows, as the source has them, (N, V)."""
        return np.asarray(arrays, np.float32).reshape(len(arrays), self.num_values)

    def scaled(self, arrays: Sequence[Any] | NDArray[Any]) -> Values:
        """Return the values of N arrays in rows, as the network reads them, (N, V)."""
        values = self.values_of(arrays) - np.float32(self.offset)
        values /= np.float32(self.scale)
        return values


def load_settings(path: Path) -> PredictorSettings:
    """Return the settings in a predictor.json."""
    with reading(path):
        raw = json.loads(path.read_text(encoding="utf-8"))
        return PredictorSettings(
            labels=tuple(raw["labels"]),
            shape=tuple(raw["shape"]),
            offset=float(raw["offset"]),
            scale=float(raw["scale"]),
        )


class Predictor:
    """A model's forward, as one call from arrays to scores."""

    def __init__(
        self, *, settings: PredictorSettings, forward: Forward, batch_size: int, threads: int,
        calibration: Calibration | None = None,
    ) -> None:  # fmt: skip
        """`forward` takes batches of at most `batch_size` rows, on `threads` threads at once; without a calibration,
        the scores are those of the model."""
        self.settings, self.forward, self.batch_size, self.calibration = settings, forward, batch_size, calibration
        self.workers = Workers(threads)

    @classmethod
    def load(cls, folder: Path, *, threads: int, batch_size: int | None = None) -> "Predictor":
        """Return the predictor of the compressed model in `folder`, which computes on `threads` threads at once.

        `batch_size` is the most rows of a call: what its `batching.json` says, unless given.
        """
        settings = load_settings(folder / SETTINGS)
        return cls(
            settings=settings,
            forward=onnx_forward(folder / MODEL, settings),
            batch_size=load_batch_size(folder) if batch_size is None else batch_size,
            threads=threads,
            calibration=load_calibration(folder, num_labels=len(settings.labels)),
        )

    @property
    def labels(self) -> tuple[str, ...]:
        return self.settings.labels

    def predict(self, arrays: Sequence[Any] | NDArray[Any]) -> Scores:
        """Return the probability of each label for each array, (N, L), whatever other arrays there are.

        The arrays have the values that the source has, before scaling.
        """
        size = self.workers.share(len(arrays), most=self.batch_size)
        parts = [arrays[start : start + size] for start in range(0, len(arrays), size)]
        found = self.workers.map(lambda part: softmax(self.forward(self.settings.values_of(part))), parts)
        scores = np.concatenate([np.zeros((0, len(self.labels)), np.float32), *found])
        return scores if self.calibration is None else self.calibration.way.apply(scores)

    def scaled(self, arrays: Sequence[Any] | NDArray[Any]) -> Values:
        """Return the values of N arrays in rows, as the network reads them, (N, V)."""
        return self.settings.scaled(arrays)

    def answers(self, scores: Scores) -> Sequence[ScoredLabel]:
        """Return the answer of the service for arrays with these scores, (N, L)."""
        threshold = None if self.calibration is None else self.calibration.threshold
        return answers_of(self.labels, scores, threshold=threshold)


def onnx_forward(path: Path, settings: PredictorSettings) -> Forward:
    """Return the forward of an ONNX model; of one that reads scaled values, with the scaling before it."""
    session = open_session(path)
    name = session.get_inputs()[0].name

    def forward(values: Values) -> NDArray[np.float32]:
        return np.asarray(session.run(["logits"], {name: values if name == INPUT else settings.scaled(values)})[0])

    return forward
