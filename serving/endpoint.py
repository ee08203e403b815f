"""What a task's bundle answers over HTTP, and what is told of it: the parts of an `Endpoint`."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from serving.overload.backlog import Backlog
from serving.tabular import Answering, Rows, Table


@dataclass(frozen=True)
class Refused:
    """Why a request is not answered."""

    status: int
    error: str
    """What is wrong, the value seen, what is allowed."""
    retry_after_s: int | None = None
    """When to ask again, where that is of use."""
    full_ms: int | None = None
    """For how long whatever is asked will be refused, where that is known."""


Check = Callable[[str, bytes], Any]
"""Judges one request by its content type and its body. Gives the rows to compute, each a part of the answer (where the
answer is streamed, the JSON that BentoML then reads), or why it is Refused."""


class Limits(Protocol):
    """What every task's limits have."""

    @property
    def threads(self) -> int: ...
    @property
    def max_requests(self) -> int: ...
    @property
    def max_read_ms(self) -> int: ...
    @property
    def max_latency_ms(self) -> int: ...


Pair = tuple[Any, Any]
"""What was asked, and the answer to it."""


class Endpoint(Protocol):
    """A task's module `endpoint`, in its folder of serving/tasks, beside `form.html` and `form.js` for the page.

    BentoML is imported inside `make_api` only: the stage `package` reads the rest, and needs no server for it.
    """

    @property
    def ROUTE(self) -> str:
        """The path that is posted to."""
        ...

    @property
    def IS_STREAMED(self) -> bool:
        """Whether an answer is sent while it is made; then BentoML's class answers it, else serving/requests."""
        ...

    @property
    def PACKAGES(self) -> tuple[str, ...]:
        """What the bundle needs beside bentoml, numpy and onnxruntime."""
        ...

    Limits: Callable[..., Any]
    """A frozen dataclass: the fields of the task's section in components/params/package.py, but for `task`."""

    def max_bytes(self, folder: Path, limits: Any) -> Mapping[str, int]:
        """The longest body that is read, by its media type; of any other type it is the least of these."""
        ...

    def make_check(self, folder: Path, limits: Any) -> Check:
        """What judges each request on its own, before it shares a batch with others; called on many threads."""
        ...

    def make_api(self, folder: Path, limits: Any, backlog: Backlog) -> type[Any]:
        """The class that BentoML serves, and describes in /docs.json; its `__init__` loads the model, answers one
        request first, and starts the backlog where answers are not streamed."""
        ...

    def what_it_is(self, folder: Path) -> str:
        """One sentence for the model card."""
        ...

    def how_to_ask(self, folder: Path, limits: Any) -> str:
        """For the model card: what is taken and given, and within which limits."""
        ...

    def example(self, folder: Path) -> str:
        """The options of a curl command that asks ROUTE."""
        ...

    def pairs(self, request: Any, answered: bytes, *, is_hashed: bool) -> Sequence[Pair]:
        """For the traffic log: each text, array or prompt of a request that was answered, with its answer; a text that
        the answer holds by its hash, where the log keeps no texts (`is_hashed`)."""
        ...

    def is_last(self, part: bytes, /) -> bool:
        """Return whether a part of a streamed answer is its last; False where answers are not streamed."""
        ...

    def examples(self, golden: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """For the page: a few of the golden requests, each with its `name` and the `value` that its form takes."""
        ...

    def table(self, folder: Path, limits: Any) -> Table:
        """What the model takes and gives where it is loaded without a service."""
        ...

    def rows_of(self, request: Any) -> tuple[Rows, Mapping[str, Any]]:
        """A golden request as rows of that table, and its parameters."""
        ...

    def make_answering(self, folder: Path, *, threads: int) -> Answering:
        """The model, answering such rows as the service does."""
        ...


def media_type(content_type: str) -> str:
    """The type that a header names, without its parameters."""
    return content_type.split(";")[0].strip().lower()


def hashed(asked: Any) -> str:
    """Of a text its UTF-8, of anything else its JSON without spaces."""
    text = asked if isinstance(asked, str) else json.dumps(asked, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
