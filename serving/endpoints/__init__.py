"""What a bundle answers over HTTP, one module a task. Each gives what `Endpoint` lists."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from serving.backlog import Backlog


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


class Endpoint(Protocol):
    """A module of this package.

    BentoML is imported inside `make_api` only: the stage `package` reads the rest, and needs no server for it.
    """

    ROUTE: str
    """The path that is posted to."""
    IS_STREAMED: bool
    """Whether an answer is sent while it is made; then BentoML's class answers it, else serving/answers.py."""
    PACKAGES: tuple[str, ...]
    """What the bundle needs beside bentoml, numpy and onnxruntime."""

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


def media_type(content_type: str) -> str:
    """The type that a header names, without its parameters."""
    return content_type.split(";")[0].strip().lower()


def endpoint_of(task: str) -> Endpoint:
    """The module of a task."""
    module: Any = importlib.import_module(f"serving.endpoints.{task}")
    endpoint: Endpoint = module
    return endpoint
