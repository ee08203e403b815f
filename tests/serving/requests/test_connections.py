"""Clients that are slow, silent or gone, at a server of uvicorn's with the connections of a bundle's service."""

import asyncio
import socket
import threading
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import ExitStack, contextmanager, suppress
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.responses import PlainTextResponse, StreamingResponse

from serving.endpoint import Refused
from serving.requests.bodies import Bodies
from serving.requests.connections import MOST_AROUND, Connection
from serving.requests.reading import refusal
from tests.patience import PATIENCE_S, wait_until
from tests.slow import KEPT_BYTES, SLOW, connect, hanging

READ_S = 0.3
NUM = 40
CHUNKED = b"POST /ask HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"


class Server(uvicorn.Server):
    """A server in a thread; /ask needs its body, /stream has no end, all else is answered at once."""

    def __init__(self, **more: Any) -> None:
        limits: Any = SimpleNamespace(max_read_ms=round(1000 * more.get("read_s", READ_S)))
        self.bodies = Bodies(limits)
        self.num_streams = 0
        self.protocol = type("Limited", (Connection,), {"read_s": READ_S, "linger_s": 0.1, "unfinished": {}, **more})
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KEPT_BYTES)  # and of each that it accepts
        self.address: tuple[str, int] = self.socket.getsockname()
        config = uvicorn.Config(
            self.answer, http=self.protocol, interface="asgi3", lifespan="off", log_level="error", timeout_keep_alive=1
        )  # fmt: skip
        super().__init__(config)

    async def answer(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/stream":
            response = StreamingResponse(self.stream())
        else:
            body = await self.bodies.read(receive, 2**20) if scope["path"] == "/ask" else b""
            response = refusal(body) if isinstance(body, Refused) else PlainTextResponse(str(len(body)))
        await response(scope, receive, send)

    async def stream(self) -> AsyncGenerator[bytes]:
        self.num_streams += 1
        try:
            while True:
                await asyncio.sleep(0)
                yield b"." * 50_000
        finally:
            self.num_streams -= 1


@contextmanager
def serving(**more: Any) -> Generator[Server]:
    server = Server(**more)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [server.socket]}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.should_exit = True
        thread.join(timeout=PATIENCE_S)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def server() -> Generator[Server]:
    with serving() as server:
        yield server


def ask(server: Server) -> httpx.Response:
    return httpx.post("http://{}:{}/ask".format(*server.address), content=b"whole", timeout=PATIENCE_S)


def test_clients_that_hang_keep_nobody_out() -> None:
    with serving(read_s=PATIENCE_S) as server, ExitStack() as stack:
        for sent in SLOW.values():
            stack.enter_context(hanging(server.address, sent, NUM))
        assert ask(server).text == "5"
        assert len(server.server_state.connections) >= NUM * (len(SLOW) - 1)  # without the idle ones, which are let go


def test_clients_that_hang_are_let_go(server: Server) -> None:
    with ExitStack() as stack:
        for sent in SLOW.values():
            stack.enter_context(hanging(server.address, sent, NUM))
        wait_until(
            lambda: not server.server_state.connections and not server.num_streams,
            lambda: f"{len(server.server_state.connections)} are still open",
        )


LATE = [
    SLOW["half a header"], SLOW["no body"], SLOW["a chunk that does not begin"], CHUNKED + b"1\r\nx\r\n" * 20_000,
]  # fmt: skip
TOO_MUCH = [
    SLOW["half a header"] + b"x" * MOST_AROUND,
    SLOW["a chunk that does not begin"] + b"x" * 2_000_000,
    CHUNKED + b"1\r\nx\r\n0\r\n" + b"trailer: x\r\n" * 100_000,
]


@pytest.mark.parametrize(("cases", "status", "read_s"), [(LATE, 408, READ_S), (TOO_MUCH, 431, PATIENCE_S)])
def test_clients_are_told_what_they_waited_for(cases: list[bytes], status: int, read_s: float) -> None:
    with serving(read_s=read_s) as server, ExitStack() as stack:
        clients = [stack.enter_context(connect(server.address)) for _ in cases]
        for client, sent in zip(clients, cases, strict=True):
            with suppress(ConnectionError):
                client.sendall(sent)
        for client, sent in zip(clients, cases, strict=True):
            assert client.recv(100).startswith(b"HTTP/1.1 %d " % status), sent[:200]


def test_client_that_trickles_is_let_go_as_well(server: Server) -> None:
    give_up_at = time.monotonic() + PATIENCE_S
    with connect(server.address) as client, pytest.raises(ConnectionError):  # noqa: PT012
        client.sendall(SLOW["half a header"])
        while time.monotonic() < give_up_at:
            client.sendall(b"x")
            time.sleep(0.05)


def test_headers_and_body_that_come_in_pieces_have_each_their_time() -> None:
    read_s = 2.0
    while (answered := in_pieces(read_s=read_s, pause_s=0.55 * read_s)) is None:
        read_s *= 2
        assert read_s < PATIENCE_S, "a request in pieces is never answered"
    assert answered.endswith(b"4")


def in_pieces(*, read_s: float, pause_s: float) -> bytes | None:
    """What is answered to the second request of a connection, with a pause in its headers and one in its body; None
    where the machine made one of them as long as a request may take."""
    times: list[float] = []
    with serving(read_s=read_s) as server, connect(server.address) as client:
        client.sendall(b"POST /ask HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nabcd")
        assert client.recv(1000).endswith(b"4")
        with suppress(ConnectionError):
            for piece in (b"POST /ask HTTP/1.1\r\n", b"host: a\r\ncontent-length: 4\r\n\r\nab", b"cd"):
                times.append(time.monotonic())
                client.sendall(piece)
                time.sleep(pause_s)
            answer = client.recv(1000)
            return answer if max(times[1] - times[0], times[2] - times[1]) < 0.9 * read_s else None
    return None


def test_answer_to_an_earlier_request_is_whole_where_the_next_one_is_late(server: Server) -> None:
    with connect(server.address) as client:
        client.sendall(b"POST /ask HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nabcd" + SLOW["half a header"])
        answers = b"".join(iter(lambda: client.recv(1000), b""))
    assert answers.count(b"HTTP/1.1 ") == 2
    assert b"\r\n\r\n4HTTP/1.1 408 " in answers


def test_one_connection_more_than_there_may_be_takes_the_place_of_the_one_that_waits_for_longest() -> None:
    with serving(most_open=20, read_s=PATIENCE_S) as server, ExitStack() as stack:
        first = stack.enter_context(hanging(server.address, SLOW["half a header"], 1))
        stack.enter_context(hanging(server.address, SLOW["no body"], 18))
        busy = stack.enter_context(hanging(server.address, SLOW["an answer that is not read"], 1))
        assert ask(server).text == "5"
        assert first[0].recv(100) == b""
        assert busy[0].recv(100).startswith(b"HTTP/1.1 200")
        assert len(server.server_state.connections) <= 20


def test_oldest_of_the_unfinished_bodies_makes_way_for_the_others() -> None:
    with serving(read_s=PATIENCE_S) as server:
        server.bodies.unfinished.most = 10_000
        with hanging(server.address, CHUNKED + b"fa0\r\n" + b"x" * 4000 + b"\r\n", 3) as clients:
            assert clients[0].recv(100).startswith(b"HTTP/1.1 408 ")
            assert ask(server).text == "5"
            for client in clients[1:]:
                client.sendall(b"0\r\n\r\n")
                assert client.recv(1000).endswith(b"4000")
        assert server.bodies.unfinished.size == 0
