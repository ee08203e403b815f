"""The lines of the traffic log: one for each text or array asked, and counts of requests that were turned away
unread."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from serving.log.segments import Segments, as_line

COUNTED_S = 1.0  # for how long requests that are turned away unread are one line


@dataclass
class Line:
    """The record of one text or array, or of a request without an answer (refused, failed, given up)."""

    request_id: str  # first: feedback looks for it
    time: str
    """The time when the request came, in UTC."""
    route: str
    version: str
    """The first 12 hex digits of the digest of the model version that answered."""
    build: str
    """The first 12 hex digits of the digest of the service build that answered."""
    status: int
    latency_ms: float
    item: int = 0
    """The position of the text or array in its request, from 0."""
    items: int = 1
    input: Any = None
    """The text or array, or its hash, as the recipe says."""
    length: int | None = None
    output: Any = None
    purpose: str | None = None
    """The purpose that the client gave; the page gives one when it asks which words mattered."""
    requests: int = 1
    """The number of requests in the line, more than 1 where it counts requests that were turned away unread."""

    def encode(self) -> bytes:
        return as_line(vars(self))


class TurnedAway:
    """A counter of requests that are turned away unread, so that a flood does not push answered ones out of the log.

    Each second becomes at most two lines, one for requests without a purpose and one for those with one. A line repeats
    the first request's details and counts the rest. A kill may lose the last second's counts.
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
        """Append a line for each count so far, and start again from none."""
        lines, self.lines = self.lines, {}
        if lines:
            self.log.append(b"".join(line.encode() for line in lines.values()))
