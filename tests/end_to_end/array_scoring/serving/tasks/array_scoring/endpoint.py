"""POST /score: arrays of numbers in, a probability for each out. Each array is a row of the backlog, which turns a
request away with 503 when its answer would take too long.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.endpoint import Check, Pair, Question, Refused, media_type
from serving.overload.backlog import Backlog, Reply
from serving.tabular import Answering, Column, Table
from serving.tasks.array_scoring.predictor import ROUTE, SETTINGS, Answer, PredictorSettings, Scorer, load_settings
from serving.tasks.examples import MOST

__all__ = [
    "IS_STREAMED",
    "PACKAGES",
    "ROUTE",
    "Limits",
    "example",
    "examples",
    "how_to_ask",
    "is_last",
    "joined",
    "make_answering",
    "make_api",
    "make_check",
    "max_bytes",
    "pairs",
    "questions",
    "rows_of",
    "table",
    "what_it_is",
]

IS_STREAMED = False
PACKAGES = ()
MAX_VALUE_BYTES = 32  # of one number as JSON, its comma and some space
MAX_SCALED = 1e6  # far outside of anything that was trained on, and far from where fp32 products overflow


@dataclass(frozen=True)
class Limits:
    """What the service takes."""

    threads: int
    """Rows computed at once."""
    max_arrays: int
    """Of one request."""
    max_requests: int
    """Read, waiting or computed at once; one more is turned away."""
    max_read_ms: int
    """For the whole of a request to arrive."""
    max_latency_ms: int
    """For an answer; a request whose answer would take longer is turned away."""


class Model:
    """Arrays to answers, one by one."""

    batch_size = 1

    def __init__(self, scorer: Scorer) -> None:
        self.scorer, self.warm_up = scorer, [0.0] * scorer.settings.num_values

    def weight(self, array: Sequence[float]) -> float:
        del array  # all are of one length
        return 1.0

    def compute(self, arrays: Sequence[Sequence[float]]) -> Sequence[Answer]:
        return self.scorer.answers(self.scorer.probabilities(arrays))

    def reply(self, answers: Sequence[Answer]) -> Reply:
        return Reply(json.dumps(answers, separators=(",", ":")).encode())


def make_api(folder: Path, limits: Limits, backlog: Backlog) -> type[Any]:
    """The class that BentoML serves."""
    import bentoml

    class ArrayScorer:
        def __init__(self) -> None:
            self.model = Model(Scorer.load(folder, threads=1))
            backlog.start(self.model)

        @bentoml.api(route=ROUTE)
        def score(self, arrays: list[list[float]]) -> list[Answer]:
            """How probable the positive label of each array is."""
            return [*self.model.compute(arrays)]

    return ArrayScorer


def max_bytes(folder: Path, limits: Limits) -> Mapping[str, int]:
    """The longest body that is read, by how many numbers the model reads."""
    num_values = load_settings(folder / SETTINGS).num_values
    return {"application/json": 1024 + limits.max_arrays * num_values * MAX_VALUE_BYTES}


def make_check(folder: Path, limits: Limits) -> Check:
    """Judges a request."""
    settings = load_settings(folder / SETTINGS)

    def check(content_type: str, body: bytes) -> list[list[float]] | Refused:
        if media_type(content_type) != "application/json":
            return Refused(415, f"content-type is '{content_type}'; send 'application/json'")
        return arrays_of(body, settings, limits)

    return check


def questions(folder: Path, limits: Limits) -> Mapping[str, Callable[[str, bytes], Question | Refused]]:
    """None."""
    return {}


def arrays_of(body: bytes, settings: PredictorSettings, limits: Limits) -> list[list[float]] | Refused:
    """The arrays of a JSON body; 400 for what is not a list of arrays of numbers within the limits."""
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:
        return Refused(400, f'the request is not JSON ({error}); send {{"arrays": [[0, 1]]}}')
    if not isinstance(request, dict) or set(request) != {"arrays"} or not isinstance(request["arrays"], list):
        return Refused(400, 'the request must be {"arrays": [an array, another]}, and nothing else')
    arrays: list[Any] = request["arrays"]
    if not 1 <= len(arrays) <= limits.max_arrays:
        return Refused(400, f"arrays has {len(arrays)} entries; from 1 to {limits.max_arrays} are taken in one request")
    for index, array in enumerate(arrays):
        if fault := fault_of(array, settings):
            return Refused(400, f"arrays[{index}] {fault}")
    return [[float(value) for value in array] for array in arrays]


def fault_of(array: Any, settings: PredictorSettings) -> str | None:
    """What is wrong with an array, or with its first entry that is no number, not finite, or far outside."""
    if not isinstance(array, list) or len(array) != settings.num_values:
        return f"is {json.dumps(array)[:40]}; a list of {settings.num_values} numbers is taken"
    lowest, highest = (settings.offset + sign * MAX_SCALED * settings.scale for sign in (-1, 1))
    for index, value in enumerate(array):
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"holds {json.dumps(value)[:40]} at {index}; every entry must be a number"
        if math.isnan(value) or not lowest <= value <= highest:
            return f"holds {str(value)[:40]} at {index}; numbers from {lowest:g} to {highest:g} are taken"
    return None


def what_it_is(folder: Path) -> str:
    """One sentence for the model card."""
    settings = load_settings(folder / SETTINGS)
    positive = settings.labels[1]
    return f"A scorer: it says of an array of {settings.num_values} numbers how probable the label {positive} is."


def how_to_ask(folder: Path, limits: Limits) -> str:
    """For the model card."""
    size = load_settings(folder / SETTINGS).num_values
    return f'Takes `{{"arrays": [[...]]}}` with {size} numbers in each, at most {limits.max_arrays} in one request.'


def example(folder: Path) -> str:
    """The options of a curl command."""
    zeros = ", ".join(["0"] * load_settings(folder / SETTINGS).num_values)
    return f"""-H 'content-type: application/json' -d '{{"arrays": [[{zeros}]]}}'"""


def joined(requests: Sequence[Any], limits: Limits) -> None:
    """Return None: requests are answered one by one."""


def pairs(request: Any, answered: bytes, *, is_hashed: bool) -> list[Pair]:
    """The arrays, each with its probability."""
    del is_hashed  # a probability tells little of what was asked
    return list(zip(request["arrays"], json.loads(answered), strict=True))


def is_last(_: bytes) -> bool:
    return False


def examples(golden: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Arrays from the least to the most probable, evenly spread."""
    ranked = sorted(golden, key=lambda one: one["answer"][0]["probability"])
    chosen = [ranked[round(place)] for place in np.linspace(0, len(ranked) - 1, min(MOST, len(ranked)))]
    return [
        {"name": f"Example {number}", "value": one["request"]["arrays"][0]}
        for number, one in enumerate(chosen, start=1)
    ]


def table(folder: Path, limits: Limits) -> Table:
    """An array a row."""
    return Table(inputs=load_settings(folder / SETTINGS).num_values, outputs=[Column("probability", "double")])


def rows_of(request: Any) -> tuple[NDArray[np.float64], dict[str, Any]]:
    """Its arrays."""
    return np.array(request["arrays"], np.float64), {}


def make_answering(folder: Path, *, threads: int) -> Answering:
    """The probability of each array."""
    scorer = Scorer.load(folder, threads=threads)
    return lambda rows, _: scorer.answers(scorer.probabilities(rows))
