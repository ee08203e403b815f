"""The lines of the traffic log: one for each text or array that was asked, and how many requests were turned away."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from serving.log.segments import Segments, as_line

COUNTED_S = 1.0  # for how long requests that are turned away unread are one line


@dataclass
class Line:
    """One text or array, or a request without an answer (refused, failed, given up)."""

    request_id: str  # first: feedback looks for it
    time: str
    """When it came, UTC."""
    route: str
    version: str
    """The first 12 digits of the version of the model that answered."""
    build: str
    """The first 12 digits of the build of the service that it answered through."""
    status: int
    latency_ms: float
    item: int = 0
    """Its place in the request."""
    items: int = 1
    input: Any = None
    """A text or array, or its hash, as the recipe says."""
    length: int | None = None
    output: Any = None
    purpose: str | None = None
    """What a client says that it asks for, as the page does with which words mattered."""
    requests: int = 1
    """More where the line counts those that were turned away unread."""

    def encode(self) -> bytes:
        return as_line(vars(self))


class TurnedAway:
    """Counts requests that are turned away unread, so that a flood does not push out of the log what was answered.

    One line a second says how many, and another how many had a purpose; it is otherwise the first one's. A kill may
    lose the last second's.
    """

    def __init__(self, log: Segments) -> None:
        self.log = log
        self.lines: dict[bool, Line] = {}

    def count(self, describe: Callable[[], Line], *, has_purpose: bool) -> None:
        if has_purpose in self.lines:
            self.lines[has_purpose].requests += 1
            return
        if not self.lines:
            asyncio.get_running_loop().call_later(COUNTED_S, self.write)
        self.lines[has_purpose] = describe()

    def write(self) -> None:
        """Append what was counted so far."""
        lines, self.lines = self.lines, {}
        if lines:
            self.log.append(b"".join(line.encode() for line in lines.values()))
