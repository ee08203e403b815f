"""A connection to the server, which a client cannot hold by being slow, silent or gone.

uvicorn gives a request's headers and body, and the reading of its answer, all the time that they want; only a
connection that was answered is closed when nothing more comes. Here each part has its time, whatever is asked: the
headers from their first byte on, the body from the headers on, and each part of the answer that the client leaves
unread. What is around a body (headers, trailers, the extensions of chunks) is bounded as well. Where there are more
connections than may be open at once, the one that has kept the server waiting for longest makes way.
"""

import asyncio
import json
from typing import Any, ClassVar

from uvicorn import config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from serving.requests.bodies import too_slow

MOST_AROUND = 65_536
"""The most bytes of a request that are not its body's."""
AROUND_A_BYTE = 16
"""The bytes around each byte of a body that are taken beyond MOST_AROUND: a chunk may hold one byte."""
MOST_OPEN = 4096
KEPT_FILES = 256  # descriptors for all that is no connection

TOO_MUCH = f"the request has over {MOST_AROUND} bytes of headers, trailers or chunk extensions"


class Connection(HttpToolsProtocol):
    """uvicorn's connection with a time limit on each part of a request, and on an answer that is not read."""

    read_s: ClassVar[float] = 10.0
    """The seconds within which the headers must be complete, then the body, and within which an answer is read on."""
    linger_s: ClassVar[float] = 1.0
    """The seconds after which a late body ends the connection, in which whoever reads it can say so in an answer."""
    most_open: ClassVar[int] = MOST_OPEN
    """The most connections at once."""
    unfinished: ClassVar[dict["Connection", None]] = {}
    """The connections without a whole request, in the order in which they began to wait for one."""

    reading: asyncio.TimerHandle | None = None
    writing: asyncio.TimerHandle | None = None
    has_begun = False
    """True from the first byte of a request until it is whole."""
    is_in_body = False
    num_around = 0
    answering: RequestResponseCycle | None = None
    """The request that is being answered, or was last; uvicorn's own `cycle` is the last that came."""

    # -------------------------------------------------------- what uvicorn's server and asyncio call

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().connection_made(transport)
        self.ws_protocol_class = None  # no WebSocket is spoken here, and these limits would not hold for one
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)
        if len(self.connections) > self.most_open:
            # Where all the others are being answered, it is the new one that has no place.
            longest = next(iter(self.unfinished), self)
            self.unfinished.pop(longest, None)
            longest.abort()
        self.unfinished[self] = None

    def connection_lost(self, exc: Exception | None) -> None:
        self.tell_answering()
        self.unfinished.pop(self, None)
        self.reading = cancelled(self.reading)
        self.writing = cancelled(self.writing)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.reading is None:
            self.reading = self.loop.call_later(self.read_s, self.head_is_late)
        self.num_around += len(data)
        super().data_received(data)
        if self.num_around > MOST_AROUND and not self.transport.is_closing():
            self.give_up(431, TOO_MUCH)

    def pause_writing(self) -> None:
        super().pause_writing()
        self.expect_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.writing = cancelled(self.writing)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self.answering = cycle
        super()._start_asgi_task(cycle, app)

    # -------------------------------------------------------- what the parser finds

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.has_begun = True
        if self.reading is None:  # it came with the end of the one before
            self.reading = self.loop.call_later(self.read_s, self.head_is_late)
        if not self.flow.write_paused:  # whoever asks again has read the answer before
            self.writing = cancelled(self.writing)

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self.is_in_body, self.num_around = True, 0
        cancelled(self.reading)
        self.reading = self.loop.call_later(self.read_s + self.linger_s, self.body_is_late)

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        self.num_around -= len(body) * (1 + AROUND_A_BYTE)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self.has_begun = self.is_in_body = False
        self.num_around = 0
        self.reading = cancelled(self.reading)
        self.unfinished.pop(self, None)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.has_begun:  # the next request, whose time is not that of a silent client
            self._unset_keepalive_if_required()
        elif not self.pipeline:
            self.unfinished.pop(self, None)
            self.unfinished[self] = None
        if self.transport.get_write_buffer_size():
            self.expect_reading()

    # -------------------------------------------------------- what is late

    @property
    def is_answering(self) -> bool:
        return self.answering is not None and not self.answering.response_complete

    def head_is_late(self) -> None:
        """Refuse a request whose headers are not complete in time; what came may also have been no request at all."""
        self.reading = None
        if not self.has_begun and self.is_answering:
            return
        if self.is_answering:  # the request before it, whose answer ends the connection
            self.cycle.keep_alive = False
        else:
            self.give_up(408, too_slow(round(self.read_s * 1000)))

    def body_is_late(self) -> None:
        """Refuse a request whose body is not complete in time, unless it was the server that did not read on."""
        self.reading = None
        if self.flow.read_paused and self.is_answering:
            self.reading = self.loop.call_later(self.read_s, self.body_is_late)
        else:
            self.give_up(408, too_slow(round(self.read_s * 1000)))

    def give_up(self, status: int, error: str) -> None:
        """End the connection, with an answer where none has begun."""
        cycle = self.cycle if self.is_in_body else None
        if self.pipeline or (cycle is None and self.is_answering):
            self.abort()  # an answer here would be taken for the one to an earlier request
            return
        if cycle is None or not cycle.response_started:
            body = json.dumps({"error": error}).encode()
            head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
            self.transport.write(STATUS_LINE[status] + head + body)
        self.tell_answering()
        self.expect_reading()
        self.transport.close()

    def expect_reading(self) -> None:
        """Give the client its time to read what was sent; an end that waits for that waits no longer either."""
        if self.writing is None:
            self.writing = self.loop.call_later(self.read_s, self.is_not_read)

    def is_not_read(self) -> None:
        self.writing = None
        if self.transport.get_write_buffer_size():
            self.abort()

    def abort(self) -> None:
        self.tell_answering()
        self.transport.abort()

    def tell_answering(self) -> None:
        """Let the application know that nobody waits for its answer any more."""
        if self.answering is not None and not self.answering.response_complete:
            self.answering.disconnected = True
            self.answering.message_event.set()
            self.flow.resume_writing()


def cancelled(timer: asyncio.TimerHandle | None) -> None:
    """Cancel a timer where there is one; return None, which takes its place."""
    if timer is not None:
        timer.cancel()


def limit_connections(limits: Any) -> None:
    """Have uvicorn make Connections of the connections to this process, within a service's limits.

    BentoML starts uvicorn with its own choice of a protocol, which uvicorn looks up by this name.
    """
    Connection.read_s = limits.max_read_ms / 1000
    Connection.most_open = room_for_connections()
    config.HTTP_PROTOCOLS["auto"] = f"{Connection.__module__}:{Connection.__qualname__}"


def room_for_connections(*, files_each: int = 1) -> int:
    """Return how many connections this process may hold, each with `files_each` file descriptors, after it raised its
    limit on open files as far as it may and needs to."""
    import resource

    wanted = MOST_OPEN * files_each + KEPT_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY:
        return MOST_OPEN
    return max(1, min(MOST_OPEN, (soft - min(KEPT_FILES, soft // 2)) // files_each))
