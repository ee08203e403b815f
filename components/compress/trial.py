"""What compress asks of a task: a `CompressionTrial`, which its `compress` makes.

The stage makes the candidates, times them, judges them and chooses; a trial knows what the model's graphs are, how they
are run as they are served, and how good their answers are. A runner is what answers: the predictor of serving/ around
the float model or around a candidate's folder.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypedDict, TypeVar

import onnx
import pyarrow as pa

MAX_GOLDEN = 256
"""As many golden requests as package can ask for (package.num_golden)."""

Runner = TypeVar("Runner")


class Golden(TypedDict):
    """A request, and the measured model's answer to it, as the service gives it."""

    route: str
    request: Any
    answer: Any


@dataclass(frozen=True)
class FloatFigures:
    """The float model as torch runs it fastest, not as it is served."""

    quality: float
    """On the validation split."""
    units_per_s: float


@dataclass(frozen=True)
class Tested:
    """What the chosen model does with the test split."""

    num_test: int
    """Of the test split: rows, documents or images."""
    judged: str
    """What of it the figures below are of, in words that follow `on`."""
    float_quality: float
    """Of a classifier and a generator of images evaluate's own; a language model's, which evaluate judges on the whole
    split, is measured anew on what is `judged`."""
    quality: float
    agreement: float
    """Share of the answers that are the float model's: the label of a row, the likeliest next token at each place, the
    class of a sample. The trial's `unit` names what is counted."""
    mean_difference: float
    """From the float model's numbers: probabilities, or a sample's values."""
    tables: Mapping[str, pa.Table]
    """What is kept in `results/`, by file name."""
    golden: Sequence[Golden]
    """At most MAX_GOLDEN, spread over the split."""


class CompressionTrial(Protocol[Runner]):
    """A task's side of compress."""

    @property
    def metric(self) -> str:
        """The name of the quality: accuracy, bits_per_byte, frechet_distance."""
        ...

    @property
    def unit(self) -> str:
        """What speed counts, and agreement: rows, tokens, samples."""
        ...

    @property
    def float_size_bytes(self) -> int:
        """Of the float weights that are exported."""
        ...

    @property
    def num_validation(self) -> int:
        """Rows that `quality` is measured on."""
        ...

    @property
    def items(self) -> Sequence[Any]:
        """Pieces of work for the speed rounds, such as the texts of the validation split; seconds of work in all."""
        ...

    def judge_float(self) -> FloatFigures:
        """The float model on the validation split, in the batches that torch likes best."""
        ...

    def float_runner(self, *, threads: int) -> Runner:
        """The float model, called as the service calls: the reference of the speed gate."""
        ...

    def export(self) -> Mapping[str, onnx.ModelProto]:
        """The model in fp32 as ONNX graphs, by the file name that serving/predictors loads."""
        ...

    def load(self, folder: Path, *, threads: int) -> Runner:
        """What serves a candidate's folder: the graphs, and all that preprocess left for the predictor."""
        ...

    def quality(self, runner: Runner) -> float:
        """On the validation split."""
        ...

    def work(self, runner: Runner, items: Sequence[Any]) -> int:
        """Do these items, whole path; gives how many units that were."""
        ...

    def test(self, runner: Runner) -> Tested:
        """The chosen model on the test split."""
        ...
