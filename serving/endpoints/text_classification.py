"""POST /classify: texts. Requests are batched adaptively; the batcher turns a request away with 503 when the expected
wait passes `max_latency_ms`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.endpoints import Check, Refused, media_type
from serving.predictors.scores import Answer
from serving.predictors.text_classification import ROUTE, SETTINGS, Predictor, load_settings

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

PACKAGES = ("tokenizers",)
WARM_UP = "Café: a first text, so that no user waits for what is made once."
MAX_BYTES_PER_CHARACTER = 12  # of JSON: an escaped character beyond the basic plane


@dataclass(frozen=True)
class Limits:
    """What the service takes."""

    threads: int
    """Rows computed at once."""
    max_texts: int
    """Of one request."""
    max_text_length: int
    """Characters of one text."""
    max_batch_size: int
    """Texts of several requests that are computed together."""
    max_latency_ms: int
    """Expected wait beyond which a request is turned away."""


def make_api(folder: Path, limits: Limits) -> type[Any]:
    """The class that BentoML serves."""
    import bentoml

    class Classifier:
        def __init__(self) -> None:
            self.predictor = Predictor.load(folder, threads=limits.threads)
            self.predictor.predict([WARM_UP])

        @bentoml.api(
            route=ROUTE, batchable=True, max_batch_size=limits.max_batch_size, max_latency_ms=limits.max_latency_ms
        )
        def classify(self, texts: list[str]) -> list[Answer]:
            """The label of each text, and the score of every label."""
            return self.predictor.answers(self.predictor.predict(texts))

    return Classifier


def max_bytes(folder: Path, limits: Limits) -> Mapping[str, int]:
    """The longest body that is read."""
    return {"application/json": 1024 + limits.max_texts * (limits.max_text_length * MAX_BYTES_PER_CHARACTER + 4)}


def make_check(folder: Path, limits: Limits) -> Check:
    """Judges a request; it needs nothing of the folder."""

    def check(content_type: str, body: bytes) -> bytes | Refused:
        if media_type(content_type) != "application/json":
            return Refused(415, f"content-type is '{content_type}'; send 'application/json'")
        return fault_of(body, limits) or body

    return check


def fault_of(body: bytes, limits: Limits) -> Refused | None:
    """400 for what is not a list of texts within the limits."""
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:
        return Refused(400, f'the request is not JSON ({error}); send {{"texts": ["a text"]}}')
    if not isinstance(request, dict) or set(request) != {"texts"} or not isinstance(request["texts"], list):
        return Refused(400, 'the request must be {"texts": ["a text", "another"]}, and nothing else')
    texts: list[Any] = request["texts"]
    if not texts:
        return Refused(400, "texts is empty; send at least one text")
    if len(texts) > limits.max_texts:
        return Refused(400, f"texts has {len(texts)} texts; at most {limits.max_texts} are taken in one request")
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            return Refused(400, f"texts[{index}] is {json.dumps(text)[:40]}; every text must be a string")
        if len(text) > limits.max_text_length:
            return Refused(
                400, f"texts[{index}] has {len(text)} characters; at most {limits.max_text_length} are taken"
            )
        if any("\ud800" <= character <= "\udfff" for character in text):
            return Refused(400, f"texts[{index}] holds half of a surrogate pair, which is no character")
    return None


def what_it_is(folder: Path) -> str:
    """One sentence for the model card."""
    labels = load_settings(folder / SETTINGS).labels
    names = ", ".join(labels[:8]) + (f" and {len(labels) - 8} more" if len(labels) > 8 else "")
    return f"A text classifier: it gives one of {len(labels)} labels ({names}) to a text, with a score for each."


def how_to_ask(folder: Path, limits: Limits) -> str:
    """For the model card."""
    return (
        f"At most {limits.max_texts} texts of {limits.max_text_length} characters in one request. A text is cut after "
        f"{load_settings(folder / SETTINGS).max_tokens} tokens."
    )


def example(folder: Path) -> str:
    """The options of a curl command."""
    return """-H 'content-type: application/json' -d '{"texts": ["What a wonderful film!"]}'"""
