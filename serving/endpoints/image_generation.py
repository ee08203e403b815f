"""POST /sample: a seed and a count in, a picture or arrays out. A request holds one of `threads` places while
it is computed; one that gets none within `max_latency_ms` is turned away with 503.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.endpoints import Check, Refused, media_type
from serving.pictures import png_of, tiled
from serving.places import Places
from serving.predictors import MAX_SEED
from serving.predictors.image_generation import ROUTE, SETTINGS, Sampler, load_shape

__all__ = [
    "PACKAGES",
    "ROUTE",
    "Limits",
    "example",
    "how_to_ask",
    "make_api",
    "make_check",
    "max_bytes",
    "what_it_is",
]

PACKAGES = ("pillow",)
FORMATS = ("png", "array")
MAX_BYTES = 1024
REQUEST = '{"seed": 1, "count": 16, "format": "png"}'


@dataclass(frozen=True)
class Limits:
    """What the service takes."""

    threads: int
    """Requests computed at once."""
    max_samples: int
    """Of one request."""
    max_latency_ms: int
    """Wait for a place beyond which a request is turned away."""


def make_api(folder: Path, limits: Limits) -> type[Any]:
    """The class that BentoML serves."""
    import bentoml
    from starlette.responses import JSONResponse, Response

    class Samples:
        def __init__(self) -> None:
            self.sampler = Sampler.load(folder, threads=1)
            self.places = Places(limits.threads, max_latency_ms=limits.max_latency_ms)
            png_of(tiled(self.sampler.sample(0, 1)))  # so that no user waits for what is made once

        @bentoml.api(route=ROUTE)
        async def sample(self, seed: int, count: int, format: str) -> Any:
            """Images as a PNG, or as lists of lines of grey levels, 0 to 255."""
            async with self.places:
                return await asyncio.to_thread(self.answer, seed, count, format)

        def answer(self, seed: int, count: int, format: str) -> Response:
            images = self.sampler.sample(seed, count)
            if format == "png":
                return Response(png_of(tiled(images)), media_type="image/png")
            return JSONResponse(images.tolist())

    return Samples


def max_bytes(folder: Path, limits: Limits) -> Mapping[str, int]:
    """The longest body that is read."""
    return {"application/json": MAX_BYTES}


def make_check(folder: Path, limits: Limits) -> Check:
    """Judges a request; it needs nothing of the folder."""

    def check(content_type: str, body: bytes) -> bytes | Refused:
        if media_type(content_type) != "application/json":
            return Refused(415, f"content-type is '{content_type}'; send 'application/json'")
        return request_of(body, limits)

    return check


def request_of(body: bytes, limits: Limits) -> bytes | Refused:
    """The request with its format; 400 for what is not a seed and a count within the limits."""
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
    return json.dumps({"seed": request["seed"], "count": request["count"], "format": wanted}).encode()


def what_it_is(folder: Path) -> str:
    """One sentence for the model card."""
    height, width = load_shape(folder / SETTINGS)
    return f"A generator of images: it makes grey images of {height} x {width} pixels of a seed."


def how_to_ask(folder: Path, limits: Limits) -> str:
    """For the model card."""
    return (
        f"At most {limits.max_samples} images in one request. The same seed gives the same images, and a larger count "
        "the same first. `format` is `png`, one picture of all of them side by side, or `array`, a list of images that "
        "are lists of lines of grey levels from 0 to 255."
    )


def example(folder: Path) -> str:
    """The options of a curl command."""
    return f"-H 'content-type: application/json' -d '{REQUEST}' -o samples.png"
