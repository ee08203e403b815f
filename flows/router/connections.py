"""The router's side of a client's connection, which the client cannot hold by being slow, silent or gone.

aiohttp closes a connection that was answered and is silent. Here the headers have their time as well, from their first
byte on, and so has each part of an answer that the client leaves unread; the body has its time where it is read
(flows/router/proxy.py). Where there are more connections than may be open at once, the oldest without a whole request
makes way.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from serving.requests.bodies import too_slow
from serving.requests.connections import room_for_connections

IDLE_S = 15
LINGER_S = 2  # for which the rest of a body is read whose request was refused, so that the client sees the refusal
FILES_EACH = 2  # the client's, and the one to the Bento


class Server(web.Server):
    """aiohttp's server of requests, with time limits on its connections and a limit on their number."""

    def __init__(
        self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], *, read_s: Callable[[], float]
    ) -> None:  # fmt: skip
        # A client that goes away is asked for no longer, so that its Bento stops computing.
        super().__init__(
            handler, handler_cancellation=True, access_log=None, auto_decompress=False, keepalive_timeout=IDLE_S,
            lingering_time=LINGER_S,
        )  # fmt: skip
        self.read_s = read_s
        self.most_open = room_for_connections(files_each=FILES_EACH)

    def __call__(self) -> "Connection":
        return Connection(self, loop=self._loop, **self._kwargs)

    def make_room(self, for_: "Connection") -> None:
        """Close the oldest connection without a whole request, or the new one where all others have one."""
        for one in self.connections:
            if isinstance(one, Connection) and not one.is_closed and (one is for_ or one.is_waiting):
                one.abort()
                return


class Connection(web.RequestHandler):
    """aiohttp's connection with a time limit on the headers of a request, and on an answer that is not read."""

    def __init__(self, server: Server, **more: Any) -> None:
        super().__init__(server, **more)
        self.server = server
        self.is_closed = False
        self.reading: asyncio.TimerHandle | None = None
        self.writing: asyncio.TimerHandle | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether no whole request has come that is not answered."""
        request = self._current_request
        return self._waiter is not None or (request is not None and not request.content.is_eof())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if len(self.server.connections) > self.server.most_open:
            self.server.make_room(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        self.is_closed = True
        for timer in (self.reading, self.writing):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.reading is None and self._current_request is None:
            self.reading = self._loop.call_later(self.server.read_s(), self.head_is_late)
        before = self._request_count
        super().data_received(data)
        if self._request_count > before and self.reading is not None:
            self.reading.cancel()
            self.reading = None

    async def start(self) -> None:
        transport = self.transport
        try:
            await super().start()
        finally:
            self.expect_reading(transport)

    def pause_writing(self) -> None:
        super().pause_writing()
        self.expect_reading(self.transport)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.writing is not None:
            self.writing.cancel()
            self.writing = None

    def head_is_late(self) -> None:
        """Refuse a request whose headers are not complete in time."""
        self.reading = None
        if self._waiter is None or self.transport is None:
            return
        body = json.dumps({"error": too_slow(round(1000 * self.server.read_s()))}).encode()
        head = "HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\nconnection: close\r\n"
        self.transport.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        self.force_close()

    def expect_reading(self, transport: asyncio.Transport | None) -> None:
        """Give the client its time to read what was sent; an end that waits for that waits no longer either."""

        def is_not_read() -> None:
            self.writing = None
            if transport is not None and transport.get_write_buffer_size():
                transport.abort()

        if self.writing is None and transport is not None and transport.get_write_buffer_size():
            self.writing = self._loop.call_later(self.server.read_s(), is_not_read)

    def abort(self) -> None:
        self.is_closed = True
        if self.transport is not None:
            self.transport.abort()
