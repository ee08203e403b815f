"""POST /classify: images as files, or arrays of numbers.

Each array is a row of the backlog, which turns a request away with 503 when its answer would take too long. The images
of an upload become arrays while the request is judged.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from serving.endpoint import Check, Pair, Question, Refused, media_type
from serving.overload.backlog import Backlog, Reply
from serving.predictors.calibration import may_abstain
from serving.predictors.scores import AbstainingLabel, ScoredLabel
from serving.requests.images import ImageError, read_grey
from serving.requests.uploads import Part, TooManyParts, UploadError, parts_of
from serving.tabular import ABSTAINING, SCORED, Answering, Table
from serving.tasks.array_classification.predictor import ROUTE, SETTINGS, Predictor, PredictorSettings, load_settings
from serving.tasks.examples import of_every_label

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
PACKAGES = ("pillow", "python-multipart")
FIELD = "images"
MAX_SHOWN = 2_000  # numbers of an example; more would make the page heavy
MAX_HEADERS_BYTES = 1024  # of one part of an upload
MAX_VALUE_BYTES = 32  # of one number as JSON, its comma and some space
MAX_SCALED = 1e6  # far outside of anything that was trained on, and far from where fp32 products overflow


@dataclass(frozen=True)
class Limits:
    """The limits of the service."""

    threads: int
    """The number of rows computed at once."""
    max_arrays: int
    """The most arrays in one request."""
    max_image_bytes: int
    """The most bytes of one uploaded image."""
    max_requests: int
    """The most whole requests waiting or computed at once; the next one is turned away."""
    max_read_ms: int
    """The most milliseconds that the headers of a request may take to arrive, then its body, and that its answer may
    stay unread."""
    max_latency_ms: int
    """The most milliseconds that an answer may take; a request whose answer would take longer is turned away."""


class Model:
    """The model that answers arrays."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor, self.warm_up = predictor, [0.0] * predictor.settings.num_values
        self.batch_size = predictor.batch_size

    def weight(self, array: Sequence[float]) -> float:
        del array  # all are of one length
        return 1.0

    def compute(self, arrays: Sequence[Sequence[float]]) -> Sequence[ScoredLabel]:
        return self.predictor.answers(self.predictor.predict(arrays))

    def reply(self, answers: Sequence[ScoredLabel]) -> Reply:
        return Reply(json.dumps(answers, ensure_ascii=False, separators=(",", ":")).encode())


def make_api(folder: Path, limits: Limits, backlog: Backlog) -> type[Any]:
    """Return the class that BentoML serves."""
    import bentoml
    from pydantic import Field

    settings = load_settings(folder / SETTINGS)
    lowest, highest = taken(settings)

    answer: Any = AbstainingLabel if may_abstain(folder) else ScoredLabel

    class Classifier:
        def __init__(self) -> None:
            self.model = Model(Predictor.load(folder, threads=1))
            backlog.start(self.model)

        @bentoml.api(route=ROUTE)
        def classify(
            self,
            arrays: Annotated[
                list[
                    Annotated[
                        list[Annotated[float, Field(ge=lowest, le=highest)]],
                        Field(min_length=settings.num_values, max_length=settings.num_values),
                    ]
                ],
                Field(min_length=1, max_length=limits.max_arrays),
            ],
        ) -> list[answer]:  # pyright: ignore[reportInvalidTypeForm]  # what BentoML describes in /docs.json
            """Return the label of each array, and the score of every label."""
            return [*self.model.compute(arrays)]

    return Classifier


def max_bytes(folder: Path, limits: Limits) -> Mapping[str, int]:
    """Return the longest body that is read, in bytes by media type.

    JSON is bounded by the number of values that the model reads, an upload by the largest allowed image.
    """
    settings = load_settings(folder / SETTINGS)
    most = {"application/json": 1024 + limits.max_arrays * settings.num_values * MAX_VALUE_BYTES}
    if is_image(settings):
        most["multipart/form-data"] = 1024 + limits.max_arrays * (limits.max_image_bytes + MAX_HEADERS_BYTES)
    return most


def make_check(folder: Path, limits: Limits) -> Check:
    """Return the function that judges a request, and makes arrays of an upload's images."""
    settings = load_settings(folder / SETTINGS)

    def check(content_type: str, body: bytes) -> list[list[float]] | Refused:
        kind = media_type(content_type)
        if kind == "application/json":
            return arrays_of(body, settings, limits)
        if kind == "multipart/form-data":
            return images_of(content_type, body, settings, limits)
        taken = "'application/json', or 'multipart/form-data' with images" if is_image(settings) else JSON_ONLY
        return Refused(415, f"content-type is '{content_type}'; send {taken}")

    return check


JSON_ONLY = "'application/json'"


def is_image(settings: PredictorSettings) -> bool:
    return len(settings.shape) == 2


def arrays_of(body: bytes, settings: PredictorSettings, limits: Limits) -> list[list[float]] | Refused:
    """Return the arrays of a JSON body, each flat; Refused with status 400 where they are not valid within the
    limits."""
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:
        return Refused(400, f'the request is not JSON ({error}); send {{"arrays": [[0, 1]]}}')
    if not isinstance(request, dict) or set(request) != {"arrays"} or not isinstance(request["arrays"], list):
        return Refused(400, 'the request must be {"arrays": [an array, another]}, and nothing else')
    given: list[Any] = request["arrays"]
    if fault := fault_of_number("arrays", len(given), limits):
        return fault
    arrays: list[list[float]] = []
    for index, array in enumerate(given):
        flat = flat_of(array, settings)
        if isinstance(flat, str):
            return Refused(400, f"arrays[{index}] {flat}")
        if fault := fault_of_values(flat, settings):
            return Refused(400, f"arrays[{index}] {fault}")
        arrays.append([float(value) for value in flat])
    return arrays


def fault_of_number(what: str, number: int, limits: Limits) -> Refused | None:
    if not number:
        return Refused(400, f"{what} is empty; send at least one")
    return too_many(what, number, limits) if number > limits.max_arrays else None


def too_many(what: str, number: int, limits: Limits) -> Refused:
    return Refused(400, f"{what} has {number} entries; at most {limits.max_arrays} are taken in one request")


def flat_of(array: Any, settings: PredictorSettings) -> list[Any] | str:
    """Return all entries of an array that is flat, or of lists as an image's rows are; else a message on its shape."""
    wanted = f"a list of {settings.num_values} numbers is taken"
    if is_image(settings):
        wanted += f", or {settings.shape[0]} lists of {settings.shape[1]}"
    if not isinstance(array, list):
        return f"is {json.dumps(array)[:40]}; {wanted}"
    rows: list[Any] = array
    if is_image(settings) and rows and isinstance(rows[0], list):
        height, width = settings.shape
        if len(rows) != height or not all(isinstance(row, list) and len(row) == width for row in rows):
            return f"is not {height} lists of {width}; {wanted}"
        return [value for row in rows for value in row]
    return rows if len(rows) == settings.num_values else f"has {len(rows)} entries; {wanted}"


def taken(settings: PredictorSettings) -> tuple[float, float]:
    """Return the lowest and the highest number that an array may hold."""
    lowest, highest = (settings.offset + sign * MAX_SCALED * settings.scale for sign in (-1, 1))
    return lowest, highest


def fault_of_values(values: Sequence[Any], settings: PredictorSettings) -> str | None:
    """Return a message on the first entry that is no number, not finite, or far outside the trained range; else
    None."""
    lowest, highest = taken(settings)
    for index, value in enumerate(values):
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"holds {json.dumps(value)[:40]} at {index}; every entry must be a number"
        if isinstance(value, float) and not math.isfinite(value):
            return f"holds {value} at {index}; every number must be finite"
        if not lowest <= value <= highest:
            return f"holds {str(value)[:40]} at {index}; numbers from {lowest:g} to {highest:g} are taken"
    return None


def images_of(
    content_type: str, body: bytes, settings: PredictorSettings, limits: Limits
) -> list[list[float]] | Refused:
    """Return the pixels of each image of an upload, flat, as grey levels from 0 to 255; Refused where one is
    invalid."""
    if not is_image(settings):
        size = settings.num_values
        return Refused(415, f"this model takes no images; send 'application/json' with arrays of {size} numbers")
    try:
        parts = parts_of(content_type, body, most=limits.max_arrays)
    except TooManyParts as error:
        return too_many(FIELD, error.number, limits)
    except UploadError as error:
        return Refused(400, f"the request is not multipart/form-data ({error}); send files in the field '{FIELD}'")
    names = {part.name for part in parts} - {FIELD}
    if names:
        return Refused(400, f"the upload has a field '{min(names)[:40]}'; send files in the field '{FIELD}' only")
    if fault := fault_of_number(FIELD, len(parts), limits):
        return fault
    return pixels_of(parts, settings, limits)


def pixels_of(parts: Iterable[Part], settings: PredictorSettings, limits: Limits) -> list[list[float]] | Refused:
    height, width = settings.shape
    arrays: list[list[float]] = []
    for index, part in enumerate(parts):
        if len(part.data) > limits.max_image_bytes:
            most = limits.max_image_bytes
            return Refused(413, f"{FIELD}[{index}] has {len(part.data)} bytes; at most {most} are taken")
        try:
            grey = read_grey(bytes(part.data), height=height, width=width)
        except ImageError as error:
            return Refused(error.status, f"{FIELD}[{index}] {error}")
        arrays.append(grey.ravel().tolist())
    return arrays


def questions(folder: Path, limits: Limits) -> Mapping[str, Callable[[str, bytes], Question | Refused]]:
    return {}


def what_it_is(folder: Path) -> str:
    """Return one sentence for the model card."""
    settings = load_settings(folder / SETTINGS)
    labels = settings.labels
    names = ", ".join(labels[:10]) + (f" and {len(labels) - 10} more" if len(labels) > 10 else "")
    given = (
        f"a grey image of {settings.shape[1]} x {settings.shape[0]} pixels"
        if is_image(settings)
        else f"an array of {settings.num_values} numbers"
    )
    return f"A classifier: it gives one of {len(labels)} labels ({names}) to {given}, with a score for each."


def how_to_ask(folder: Path, limits: Limits) -> str:
    """Return the part of the model card on what the service takes, and within which limits."""
    settings = load_settings(folder / SETTINGS)
    arrays = f'`{{"arrays": [[...]]}}` with {settings.num_values} numbers in each'
    if not is_image(settings):
        return f"Takes {arrays}, at most {limits.max_arrays} in one request."
    return (
        f"Takes PNG and JPEG of {settings.shape[1]} x {settings.shape[0]} pixels, colours by their luminance, in the "
        f"field `{FIELD}`,\neach of at most {limits.max_image_bytes} bytes; or JSON, {arrays}\n"
        f"(pixels from 0 for black to 255). At most {limits.max_arrays} in one request."
    )


def example(folder: Path) -> str:
    """Return the options of a curl command that asks the route."""
    settings = load_settings(folder / SETTINGS)
    if is_image(settings):
        return f"-F {FIELD}=@picture.png"
    zeros = f"$(yes 0 | head -n {settings.num_values} | paste -sd, -)"
    return f"""-H 'content-type: application/json' -d "{{\\"arrays\\": [[{zeros}]]}}\""""


def joined(requests: Sequence[Any], limits: Limits) -> dict[str, list[Any]] | None:
    """Return one request with the arrays of several; None where they are too many."""
    arrays = [array for request in requests for array in request["arrays"]]
    return {"arrays": arrays} if len(arrays) <= limits.max_arrays else None


def pairs(request: Any, answered: bytes, *, is_hashed: bool) -> list[Pair]:
    """Return the arrays, each with its label and scores."""
    del is_hashed  # a label tells little of what was asked
    (asked,) = request.values()
    return list(zip(asked, json.loads(answered), strict=True))


def is_last(_: bytes) -> bool:
    return False


def examples(golden: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a few arrays of different labels for the page, each of at most MAX_SHOWN numbers."""
    arrays = [(one["answer"][0]["label"], one["request"]["arrays"][0]) for one in golden]
    chosen = of_every_label([(label, array) for label, array in arrays if len(array) <= MAX_SHOWN])
    return [{"name": f"Example {number}", "value": array} for number, array in enumerate(chosen, start=1)]


def table(folder: Path, limits: Limits) -> Table:
    """Return the table of one flat array a row."""
    return Table(
        inputs=load_settings(folder / SETTINGS).num_values, outputs=ABSTAINING if may_abstain(folder) else SCORED
    )


def rows_of(request: Any) -> tuple[NDArray[np.float64], dict[str, Any]]:
    """Return the arrays of a golden request, (N, V), and no parameters."""
    return np.array(request["arrays"], np.float64), {}


def make_answering(folder: Path, *, threads: int) -> Answering:
    """Return a function that gives the label and the scores of each array."""
    predictor = Predictor.load(folder, threads=threads)
    return lambda rows, _: predictor.answers(predictor.predict(rows))
