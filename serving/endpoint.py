"""The interface between the service and a task: the answers over HTTP, the model card, the page and the traffic log."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from serving.overload.backlog import Backlog, MakeReply
from serving.tabular import Answering, Rows, Table


@dataclass(frozen=True)
class Refused:
    """A refusal of a request: its HTTP status and what the client is told."""

    status: int
    error: str
    """The message: what is wrong, the value seen, what is allowed."""
    retry_after_s: int | None = None
    """The seconds after which asking again makes sense; None where it makes none."""
    full_ms: int | None = None
    """The milliseconds for which every request will be refused; None where that is not known."""


Check = Callable[[str, bytes], Any]
"""A function that judges one request by its content type and its body.

It returns the rows to compute, each of which is a part of the answer, or a Refused. Where answers are streamed it
returns the JSON bytes that BentoML then reads, or a Refused.
"""


@dataclass(frozen=True)
class Question:
    """A request on a route beside the task's own: the rows that the same model computes, and what becomes of their
    results."""

    rows: Sequence[Any]
    make_reply: MakeReply


class Limits(Protocol):
    """The limits that every task has."""

    @property
    def threads(self) -> int: ...
    @property
    def max_requests(self) -> int: ...
    @property
    def max_read_ms(self) -> int: ...
    @property
    def max_latency_ms(self) -> int: ...


Pair = tuple[Any, Any]
"""A text, array or prompt that was asked, and the answer to it."""


class Endpoint(Protocol):
    """The module `endpoint` in a task's folder of serving/tasks, beside `form.html` and `form.js` for the page.

    BentoML is imported inside `make_api` only: the stage `package` reads the rest, and needs no server for it.
    """

    @property
    def ROUTE(self) -> str:
        """The path of the HTTP route that takes the task's POST requests."""
        ...

    @property
    def IS_STREAMED(self) -> bool:
        """True where an answer is sent while it is made: BentoML's class then answers, and else serving/requests."""
        ...

    @property
    def PACKAGES(self) -> tuple[str, ...]:
        """The packages that the bundle needs beside bentoml, numpy and onnxruntime."""
        ...

    Limits: Callable[..., Any]
    """The frozen dataclass of the service's limits: the fields of the task's serving section in components/params,
    except `task`."""

    def max_bytes(self, folder: Path, limits: Any) -> Mapping[str, int]:
        """Return the longest body that is read, in bytes, by media type; a type that is not named gets the least of
        these."""
        ...

    def make_check(self, folder: Path, limits: Any) -> Check:
        """Return the function that judges each request on its own, before its rows join others; it is called on many
        threads."""
        ...

    def questions(self, folder: Path, limits: Any) -> Mapping[str, Callable[[str, bytes], Question | Refused]]:
        """Return the routes beside ROUTE that the same model answers, each with the function that judges a request on
        it as `make_check` does on ROUTE; none where answers are streamed.

        They are no traffic: the log does not hold them.
        """
        ...

    def make_api(self, folder: Path, limits: Any, backlog: Backlog) -> type[Any]:
        """Return the class that BentoML serves and describes in /docs.json.

        Its `__init__` loads the model, answers one request, and starts the backlog where answers are not streamed.
        """
        ...

    def what_it_is(self, folder: Path) -> str:
        """Return one sentence for the model card."""
        ...

    def how_to_ask(self, folder: Path, limits: Any) -> str:
        """Return the part of the model card that says what the service takes and gives, and within which limits."""
        ...

    def example(self, folder: Path) -> str:
        """Return the options of a curl command that asks ROUTE."""
        ...

    def joined(self, requests: Sequence[Any], limits: Any) -> Any:
        """Return one golden request for what several ask, whose answer is theirs one after the other; None where a
        request cannot hold that."""
        ...

    def pairs(self, request: Any, answered: bytes, *, is_hashed: bool) -> Sequence[Pair]:
        """Return, for the traffic log, each text, array or prompt of an answered request with its answer.

        With `is_hashed`, where the log keeps no texts, a text that the answer holds is replaced by its hash.
        """
        ...

    def is_last(self, part: bytes, /) -> bool:
        """Return whether a part of a streamed answer is its last; False where answers are not streamed."""
        ...

    def examples(self, golden: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return a few of the golden requests for the page, each with its `name` and the `value` that the page's form
        takes."""
        ...

    def table(self, folder: Path, limits: Any) -> Table:
        """Return the columns and parameters that the model takes and gives where it is loaded without a service."""
        ...

    def rows_of(self, request: Any) -> tuple[Rows, Mapping[str, Any]]:
        """Return a golden request as rows of the table that `table` describes, and its parameters."""
        ...

    def make_answering(self, folder: Path, *, threads: int) -> Answering:
        """Return a function that answers such rows as the service does, `threads` at once."""
        ...


def media_type(content_type: str) -> str:
    """Return the media type that a content-type header names, in lower case and without its parameters."""
    return content_type.split(";")[0].strip().lower()


def hashed(asked: Any) -> str:
    """Return `sha256:` and the hex digest of a text's UTF-8, or of anything else as JSON without spaces."""
    text = asked if isinstance(asked, str) else json.dumps(asked, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
