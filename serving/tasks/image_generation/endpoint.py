"""POST /sample: a seed and a count in, a picture or arrays out.

A request is one row of the backlog, which turns it away with 503 when its answer would take too long.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from serving.endpoint import Check, Pair, Question, Refused, media_type
from serving.overload.backlog import Backlog, Reply
from serving.predictors import MAX_SEED
from serving.predictors.pictures import png_of, tiled
from serving.tabular import Answering, Column, Table
from serving.tasks.examples import MOST
from serving.tasks.image_generation.predictor import ROUTE, SETTINGS, Sampler, load_shape

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
PACKAGES = ("pillow",)
FORMATS = ("png", "array")
MAX_BYTES = 1024
FIXED_IMAGES = 4  # what a request costs beside its images, as images
REQUEST = '{"seed": 1, "count": 16, "format": "png"}'


@dataclass(frozen=True)
class Limits:
    """The limits of the service."""

    threads: int
    """The number of requests computed at once."""
    max_samples: int
    """The most samples in one request."""
    max_requests: int
    """The most whole requests waiting or computed at once; the next one is turned away."""
    max_read_ms: int
    """The most milliseconds that the headers of a request may take to arrive, then its body, and that its answer may
    stay unread."""
    max_latency_ms: int
    """The most milliseconds that an answer may take; a request whose answer would take longer is turned away."""


@dataclass(frozen=True)
class Wanted:
    """A request for images: the seed, the count, and the format (`png` or `array`)."""

    seed: int
    count: int
    format: str


class Model:
    """The model that answers requests with a picture or arrays."""

    batch_size = 1

    def __init__(self, sampler: Sampler) -> None:
        self.sampler, self.warm_up = sampler, Wanted(seed=0, count=1, format="png")

    def weight(self, wanted: Wanted) -> float:
        return FIXED_IMAGES + wanted.count

    def compute(self, rows: Sequence[Wanted]) -> Sequence[Reply]:
        return [self.drawn(wanted) for wanted in rows]

    def drawn(self, wanted: Wanted) -> Reply:
        images = self.sampler.sample(wanted.seed, wanted.count)
        if wanted.format == "png":
            return Reply(png_of(tiled(images)), b"image/png")
        return Reply(json.dumps(images.tolist(), separators=(",", ":")).encode())

    def reply(self, replies: Sequence[Reply]) -> Reply:
        return replies[0]


def make_api(folder: Path, limits: Limits, backlog: Backlog) -> type[Any]:
    """Return the class that BentoML serves."""
    import bentoml
    from pydantic import Field

    class Samples:
        def __init__(self) -> None:
            self.model = Model(Sampler.load(folder, threads=1))
            backlog.start(self.model)

        @bentoml.api(route=ROUTE)
        def sample(
            self,
            seed: Annotated[int, Field(ge=0, le=MAX_SEED)],
            count: Annotated[int, Field(ge=1, le=limits.max_samples)],
            format: Literal["png", "array"] = FORMATS[0],
        ) -> list[list[list[int]]]:
            """Return images as lists of lines of grey levels from 0 to 255; a PNG of all of them where the format is
            png."""
            del format
            return self.model.sampler.sample(seed, count).tolist()

    return Samples


def max_bytes(folder: Path, limits: Limits) -> Mapping[str, int]:
    """Return the longest body that is read, in bytes by media type."""
    return {"application/json": MAX_BYTES}


def make_check(folder: Path, limits: Limits) -> Check:
    """Return the function that judges a request; it needs nothing of the folder."""

    def check(content_type: str, body: bytes) -> list[Wanted] | Refused:
        if media_type(content_type) != "application/json":
            return Refused(415, f"content-type is '{content_type}'; send 'application/json'")
        wanted = request_of(body, limits)
        return wanted if isinstance(wanted, Refused) else [wanted]

    return check


def request_of(body: bytes, limits: Limits) -> Wanted | Refused:
    """Return a request with its format; Refused with status 400 where it is no seed and count within the limits."""
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:
        return Refused(400, f"the request is not JSON ({error}); send {REQUEST}")
    if not isinstance(request, dict) or not {"seed", "count"} <= set(request) <= {"seed", "count", "format"}:
        return Refused(400, f"the request must be {REQUEST}, and nothing else; format may be left out")
    for name, least, most in (("seed", 0, MAX_SEED), ("count", 1, limits.max_samples)):
        value: Any = request[name]
        if type(value) is not int or not least <= value <= most:  # in Python, true is an integer, too
            return Refused(400, f"{name} is {json.dumps(value)[:40]}; it must be a whole number from {least} to {most}")
    wanted = request.get("format", FORMATS[0])
    if wanted not in FORMATS:
        return Refused(400, f"format is {json.dumps(wanted)[:40]}; it must be 'png' or 'array'")
    return Wanted(seed=request["seed"], count=request["count"], format=wanted)


def questions(folder: Path, limits: Limits) -> Mapping[str, Callable[[str, bytes], Question | Refused]]:
    return {}


def what_it_is(folder: Path) -> str:
    """Return one sentence for the model card."""
    height, width = load_shape(folder / SETTINGS)
    return f"A generator of images: it makes grey images of {height} x {width} pixels of a seed."


def how_to_ask(folder: Path, limits: Limits) -> str:
    """Return the part of the model card on what the service takes, and within which limits."""
    return (
        f"At most {limits.max_samples} images in one request. The same seed gives the same images, and a larger count "
        "the same first. `format` is `png`, one picture of all of them side by side, or `array`, a list of images that "
        "are lists of lines of grey levels from 0 to 255."
    )


def example(folder: Path) -> str:
    """Return the options of a curl command that asks the route."""
    return f"-H 'content-type: application/json' -d '{REQUEST}' -o samples.png"


def joined(requests: Sequence[Any], limits: Limits) -> None:
    """Return None: requests are answered one by one."""


def pairs(request: Any, answered: bytes, *, is_hashed: bool) -> list[Pair]:
    """Return the request, which determines the images, with the sha256 and the size in bytes of the answer."""
    del is_hashed
    return [(request, {"sha256": hashlib.sha256(answered).hexdigest(), "size_bytes": len(answered)})]


def is_last(_: bytes) -> bool:
    return False


def examples(golden: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a few seeds of the golden requests for the page."""
    seeds = dict.fromkeys(one["request"]["seed"] for one in golden)
    return [{"name": f"Seed {seed}", "value": seed} for seed in list(seeds)[:MOST]]


def table(folder: Path, limits: Limits) -> Table:
    """Return the table of a seed and a count a row; its images are lists of lines of grey levels."""
    inputs = [Column("seed", "long"), Column("count", "long")]
    return Table(inputs=inputs, outputs=[Column("images", "long", ("array", "array", "array"))])


def rows_of(request: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a golden request as one row, and no parameters."""
    return {"seed": [request["seed"]], "count": [request["count"]]}, {}


def make_answering(folder: Path, *, threads: int) -> Answering:
    """Return a function that gives the images of each seed."""
    sampler = Sampler.load(folder, threads=threads)

    def answer(rows: Any, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        del parameters
        wanted = zip(rows["seed"], rows["count"], strict=True)
        return [{"images": sampler.sample(seed, count).tolist()} for seed, count in wanted]

    return answer
