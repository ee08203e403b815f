"""The interface between compress and a task: a `CompressionTrial`, which the task's `compress` makes.

The stage makes the candidates, times them, judges them and chooses one. A trial knows the model's graphs, runs them as
they are served, and judges their answers. A runner answers requests: it is the predictor of serving/ around the float
model or around a candidate's folder.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypedDict, TypeVar

import onnx
import pyarrow as pa

MAX_GOLDEN = 256
"""The most golden requests that are kept, which is also the most that package can ask for (package.num_golden)."""

Runner = TypeVar("Runner")


class Golden(TypedDict):
    """A request with the measured model's answer to it, as the service gives it."""

    route: str
    request: Any
    answer: Any


@dataclass(frozen=True)
class FloatFigures:
    """The figures of the float model where torch runs it in large batches, not as it is served."""

    quality: float
    """The quality on the validation split."""
    units_per_s: float


@dataclass(frozen=True)
class Tested:
    """The results of the chosen model on the test split."""

    num_test: int
    """The number of items in the test split: rows, documents or images."""
    judged: str
    """The part of the test split that the figures below describe, in words that follow `on`."""
    float_quality: float
    """The float model's quality.

    It is evaluate's own figure for a classifier and for an image generator. A language model, which evaluate judges on
    the whole split, is measured anew on the part that `judged` names.
    """
    quality: float
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
    """Where scores are calibrated, the figures `ece`, `coverage` and `answered_precision` of the report, as far as
    they are defined."""


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

    def export(self) -> Mapping[str, onnx.ModelProto]:
        """Return the model in fp32 as ONNX graphs, by the file names that serving/predictors loads."""
        ...

    def settle_batches(self, folder: Path) -> int:
        """Return the most rows of a call of a candidate that leave each row's answer its bits, and leave the number in
        the candidate's folder for `load`; 1 where the task answers one by one."""
        ...

    def load(self, folder: Path, *, threads: int) -> Runner:
        """Return a runner for a candidate's folder, which holds the graphs and preprocess's files for the predictor."""
        ...

    def quality(self, runner: Runner) -> float:
        """Return the runner's quality on the validation split."""
        ...

    def work(self, runner: Runner, items: Sequence[Any]) -> int:
        """Process the items from input to answer; return their number in units."""
        ...

    def test(self, runner: Runner) -> Tested:
        """Judge the chosen model's runner on the test split."""
        ...
