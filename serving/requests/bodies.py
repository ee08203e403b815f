"""The bodies of requests, each read whole within its time and within the memory that all unfinished ones may take."""

import asyncio
from collections.abc import Awaitable, Callable, Generator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any

from serving.endpoint import Limits, Refused, media_type

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

CLIENT_GONE = 499
"""The status of a request whose client left before it was answered, as nginx has it."""
MAX_UNFINISHED_BYTES = 256 * 2**20
"""The most bytes that all unfinished bodies may take; beyond it the one that was begun first is given up."""


class Unfinished:
    """The bodies that are being read, in the order in which they were begun."""

    def __init__(self, most: int) -> None:
        self.most, self.size = most, 0
        self.sizes: dict[asyncio.Timeout, int] = {}

    @contextmanager
    def reading(self, timeout: asyncio.Timeout) -> Generator[Callable[[int], None]]:
        """Count a body for the block, in which `timeout` is running; yield what is to be called with each part's size.

        Where all of them are too long, the first that was begun runs out of time.
        """
        self.sizes[timeout] = 0

        def grow(size: int) -> None:
            if timeout in self.sizes:
                self.sizes[timeout] += size
                self.size += size
            if self.size > self.most:
                first = next(iter(self.sizes))
                self.forget(first)
                if not first.expired():
                    first.reschedule(asyncio.get_running_loop().time())

        try:
            yield grow
        finally:
            self.forget(timeout)

    def forget(self, timeout: asyncio.Timeout) -> None:
        self.size -= self.sizes.pop(timeout, 0)


class Bodies:
    """The reader of the bodies of requests within a service's limits."""

    def __init__(self, limits: Limits) -> None:
        self.limits, self.unfinished = limits, Unfinished(MAX_UNFINISHED_BYTES)

    async def read(self, receive: Receive, most: int) -> bytes | Refused:
        """Return the whole body of a request, or a Refused.

        The status is 413 as soon as the body is longer than `most` bytes, 408 where it does not arrive in time, and
        CLIENT_GONE where the client leaves before.
        """
        try:
            async with asyncio.timeout(self.limits.max_read_ms / 1000) as timeout:
                message = await receive()
                if not message.get("more_body", False):
                    return judged(message, message.get("body", b""), most)
                with self.unfinished.reading(timeout) as grow:
                    body = bytearray(message.get("body", b""))
                    grow(len(body))
                    while message.get("more_body", False) and len(body) <= most:
                        message = await receive()
                        part: bytes = message.get("body", b"")
                        body += part
                        grow(len(part))
                    return judged(message, bytes(body), most)
        except TimeoutError:
            return Refused(408, too_slow(self.limits.max_read_ms))


def too_slow(max_read_ms: int) -> str:
    return f"the request was not whole after {max_read_ms} ms; send it faster, or less"


def judged(last: Message, body: bytes, most: int) -> bytes | Refused:
    """Return a body whose last message came, or the Refused that says why it cannot be taken."""
    if last["type"] == "http.disconnect":
        return Refused(CLIENT_GONE, "the client left before its request was whole")
    return body if len(body) <= most else Refused(413, f"the request is longer than {most} bytes; send less at once")


def most_bytes(content_type: str, max_bytes: Mapping[str, int]) -> int:
    """Return the longest body that is read of a content type; one that is not named gets the least of all."""
    return max_bytes.get(media_type(content_type), min(max_bytes.values()))
