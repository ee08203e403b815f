"""The client of benchmarks/service.py, a process of its own that costs about 0.1 ms a request.

    python service_client.py WHAT

WHAT are the arguments of `load` as JSON; what was found is printed as JSON.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

MAX_CONNECTIONS = 4000


class Connection(asyncio.Protocol):
    """One connection that is kept; `answered` gets the status of each request, and the seconds since it was due and
    since it was sent."""

    transport: asyncio.Transport

    def __init__(self, answered: "Callable[[Connection, int, float, float], None]") -> None:
        self.answered, self.buffer, self.due_at, self.sent_at = answered, b"", 0.0, 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def ask(self, request: bytes, at: float) -> None:
        """`at` is when the request was due: what a client waits for a connection counts."""
        self.due_at, self.sent_at, self.buffer = at, time.perf_counter(), b""
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, end, body = self.buffer.partition(b"\r\n\r\n")
        if end:
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
            if len(body) >= length:
                now = time.perf_counter()
                self.answered(self, int(head[9:12]), now - self.due_at, now - self.sent_at)


async def load(
    *, port: int, texts: list[str], per_request: int, seconds: float, num_clients: int = 0, rate: float = 0.0
) -> dict[str, Any]:
    """Ask: `num_clients` that each wait for their answer, or `rate` requests a second, whatever comes back."""
    requests = [request_of([texts[(i + k) % len(texts)] for k in range(per_request)]) for i in range(len(texts))]
    found: list[tuple[int, float, float]] = []
    idle: list[Connection] = []
    started, loop, number = time.perf_counter(), asyncio.get_running_loop(), 0

    def next_request() -> bytes:
        nonlocal number
        number += 1
        return requests[number % len(requests)]

    def answered(connection: Connection, status: int, since_due_s: float, since_sent_s: float) -> None:
        found.append((status, since_due_s, since_sent_s))
        if rate:
            idle.append(connection)
        elif time.perf_counter() - started < seconds:
            connection.ask(next_request(), time.perf_counter())

    for _ in range(num_clients or min(MAX_CONNECTIONS, max(64, int(rate)))):
        _, connection = await loop.create_connection(lambda: Connection(answered), "127.0.0.1", port)
        idle.append(connection)
    started, num_due, waiting = time.perf_counter(), 0, 0
    if not rate:
        for connection in list(idle):
            connection.ask(next_request(), time.perf_counter())
        await asyncio.sleep(seconds)
    while rate and (now := time.perf_counter() - started) < seconds:
        while num_due < now * rate and idle:
            idle.pop().ask(next_request(), started + num_due / rate)
            num_due += 1
        waiting = max(waiting, int(now * rate) - num_due)
        await asyncio.sleep(0.001)
    elapsed_s, in_time = time.perf_counter() - started, len(found)
    await asyncio.sleep(2.0)  # what is still on its way
    return {
        "elapsed_s": elapsed_s, "in_time": in_time, "num_asked": number, "client_s": time.process_time(),
        "max_unsent": waiting, "statuses": {str(status): latencies(found, status) for status in {s for s, *_ in found}},
    }  # fmt: skip


def request_of(texts: Sequence[str]) -> bytes:
    body = json.dumps({"texts": texts}).encode()
    head = (
        f"POST /classify HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
    )
    return head.encode() + b"\r\n\r\n" + body


def latencies(found: Sequence[tuple[int, float, float]], status: int) -> dict[str, float]:
    """Return the milliseconds since requests were due, and their p99 since they were sent."""
    took = sorted(1000 * since_due_s for seen, since_due_s, _ in found if seen == status)
    since_sent = sorted(1000 * since_sent_s for seen, _, since_sent_s in found if seen == status)
    last = min(len(took) - 1, int(0.99 * len(took)))
    return {
        "num": len(took), "p50": took[len(took) // 2], "p99": took[last], "max": took[-1],
        "p99 since it was sent": since_sent[last],
    }  # fmt: skip


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(load(**json.loads(sys.argv[1])))))
