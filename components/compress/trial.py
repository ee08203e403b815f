"""The interface between compress and a task: a `CompressionTrial`, which the task's `compress` makes.

The stage makes the candidates, times them, judges them and chooses one. A trial knows the model's graphs, runs them as
they are served, and judges their answers. A runner answers requests: it is the predictor of serving/ around the float
model or around a candidate's folder.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypedDict, TypeVar

import numpy as np
import onnx
import pyarrow as pa
from numpy.typing import NDArray
from torch import nn

from components.compress.limit import Limit
from components.evaluate.bootstrap import Statistic, percentiles, resamples
from components.export.static import Feeds
from components.params import Bootstrap

BOOTSTRAP = Bootstrap(num_samples=1000, seed=0, confidence=0.95)
"""The resamples by which compressed models are compared with the float one."""

DIGITS = 6
MAX_GOLDEN = 256
"""The most golden requests that are kept, which is also the most that package can ask for (package.num_golden)."""

Runner = TypeVar("Runner")


class Golden(TypedDict):
    """A request with the measured model's answer to it, as the service gives it."""

    route: str
    request: Any
    answer: Any


@dataclass(frozen=True)
class Quality:
    """A model's quality on some rows."""

    value: float
    resampled: NDArray[np.float64] | None = None
    """The quality in each resample of BOOTSTRAP, whose draws are the same for every model, so that the interval of a
    difference is a paired one; None where the quality is not one of rows."""


def quality_of(statistic: Statistic, name: str, *, num_rows: int) -> Quality:
    """Return a figure of a statistic of rows, by its name, as a quality with its resamples."""
    value = statistic(np.ones((num_rows, 1), np.float32))[name]
    resampled = [statistic(weights)[name] for weights in resamples(num_rows, BOOTSTRAP)]
    return Quality(float(value[0]), np.concatenate(resampled))


def lost(
    float_quality: Quality, quality: Quality, *, drop: Callable[[Any, Any], Any]
) -> tuple[float, tuple[float, float] | None]:
    """Return by how much a quality is worse than the float model's on the same rows, by the task's `drop`, and the ends
    of the paired interval of that; None where the quality is not one of rows."""
    difference = round(float(drop(float_quality.value, quality.value)), DIGITS)
    if float_quality.resampled is None or quality.resampled is None:
        return difference, None
    low, high = percentiles(drop(float_quality.resampled, quality.resampled), confidence=BOOTSTRAP.confidence)
    return difference, (round(float(low), DIGITS), round(float(high), DIGITS))


@dataclass(frozen=True)
class FloatFigures:
    """The figures of the float model where torch runs it in large batches, not as it is served."""

    quality: Quality
    """The quality on the validation split."""
    units_per_s: float


@dataclass(frozen=True)
class Tested:
    """The results of the chosen model on the test split."""

    num_test: int
    """The number of items in the test split: rows, documents or images."""
    judged: str
    """The part of the test split that the figures below describe, in words that follow `on`."""
    float_quality: Quality
    """The float model's quality.

    It is evaluate's own figure for a classifier and for an image generator. A language model, which evaluate judges on
    the whole split, is measured anew on the part that `judged` names.
    """
    quality: Quality
    agreement: float
    """The share of the answers that are the float model's: the label of a row, the likeliest next token at each place,
    or the class of a sample. The trial's `unit` names what is counted."""
    mean_difference: float
    """The mean absolute difference from the float model's numbers: probabilities, or the values of a sample."""
    tables: Mapping[str, pa.Table]
    """The tables to keep in `results/`, by file name."""
    golden: Sequence[Golden]
    """The golden requests, at most MAX_GOLDEN, spread over the split."""
    calibration: Mapping[str, float] = field(default_factory=dict[str, float])
    """Where scores are calibrated, the figures `temperature`, `threshold`, `ece`, `coverage` and `answered_precision`
    of the report, as far as they are defined."""


class CompressionTrial(Protocol[Runner]):
    """A task's part in compress."""

    @property
    def metric(self) -> str:
        """The name of the quality metric: accuracy, f1_macro, mcc, bits_per_byte or frechet_distance."""
        ...

    @property
    def unit(self) -> str:
        """The unit that speed and agreement count: rows, tokens or samples."""
        ...

    @property
    def float_size_bytes(self) -> int:
        """The size in bytes of the float weights that are exported."""
        ...

    @property
    def num_validation(self) -> int:
        """The number of rows of the validation split on which `quality` is measured."""
        ...

    @property
    def items(self) -> Sequence[Any]:
        """The pieces of work for the speed rounds, such as the texts of the validation split: seconds of work in
        total."""
        ...

    def judge_float(self) -> FloatFigures:
        """Measure the float model on the validation split, in the batches that suit torch best."""
        ...

    def float_runner(self, *, threads: int) -> Runner:
        """Return a runner of the float model that is called as the service calls it: the reference of the speed
        gate."""
        ...

    def batched_runner(self, *, threads: int) -> Runner | None:
        """Return a runner of the float model in the batches that suit torch best, on so many threads of torch; None
        where it does other work in batches than the one that is served."""
        ...

    def export(self, model: nn.Module | None = None) -> Mapping[str, onnx.ModelProto]:
        """Return a model in fp32 as ONNX graphs, by the file names that serving/predictors loads: a student of the
        float model, or without one the float model."""
        ...

    def settle_batches(self, folder: Path) -> int:
        """Return the most rows of a call of a candidate that leave each row's answer its bits, and leave the number in
        the candidate's folder for `load`; 1 where the task answers one by one."""
        ...

    def calibrate(self, folder: Path, *, threads: int) -> tuple[Limit, ...]:
        """Fit a candidate's scores to how often they are right, where the recipe asks for it, and leave what was fitted
        in its folder for `load`; return what that asks of a candidate beside the gate."""
        ...

    def feeds(self, num_rows: int) -> Sequence[Feeds] | None:
        """Return the inputs of the graphs for at most so many rows of the training split, by which activations are
        scaled; None where the task gives none."""
        ...

    def load(self, folder: Path, *, threads: int) -> Runner:
        """Return a runner for a candidate's folder, which holds the graphs and preprocess's files for the predictor."""
        ...

    def quality(self, runner: Runner) -> Quality:
        """Return the runner's quality on the validation split."""
        ...

    def work(self, runner: Runner, items: Sequence[Any]) -> int:
        """Process the items from input to answer; return their number in units."""
        ...

    def test(self, runner: Runner) -> Tested:
        """Judge the chosen model's runner on the test split."""
        ...
