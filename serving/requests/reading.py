"""The reading of a request, and the refusal of one.

A request whose answer is streamed is judged here and goes on to BentoML (`Refusals`); serving/requests/answering.py
answers one whose answer is whole.
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

from starlette.responses import JSONResponse

from serving.endpoint import Endpoint, Limits, Refused
from serving.requests.bodies import Bodies, Message, Receive, most_bytes

FULL_HEADER = b"modelyard-full"
"""The header that tells the router for how many milliseconds every request would be refused."""
TOKEN = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""The pattern of an id or a word that a client may give, and that the log repeats."""

Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class Refusals:
    """The middleware that refuses bad requests itself, and tells a client that is turned away when to come again."""

    def __init__(self, app: App, *, endpoint: Endpoint, folder: Path, limits: Limits) -> None:
        self.app, self.limits, self.route = app, limits, endpoint.ROUTE
        self.max_bytes = endpoint.max_bytes(folder, limits)
        self.check = endpoint.make_check(folder, limits)
        self.bodies = Bodies(limits)
        self.num_open = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if not asked(scope, self.route):
            await self.app(scope, receive, send)
            return
        content_type = header_of(scope, b"content-type")
        body: bytes | Refused = overloaded(self.limits)
        if self.num_open < self.limits.max_requests:
            body = await self.bodies.read(receive, most_bytes(content_type, self.max_bytes))
        if isinstance(body, bytes) and self.num_open >= self.limits.max_requests:
            body = overloaded(self.limits)
        if isinstance(body, Refused):
            await send_refusal(body, send)
            return
        self.num_open += 1  # of whole requests only: one that is not sent to its end must not keep others out
        try:
            await self.pass_on(content_type, body, scope, receive, send)
        finally:
            self.num_open -= 1

    async def pass_on(self, content_type: str, body: bytes, scope: Message, receive: Receive, send: Send) -> None:
        """Judge a request on a thread, so that a large one does not keep the others waiting; then pass it on or refuse
        it."""
        checked = await asyncio.to_thread(self.check, content_type, body)
        if isinstance(checked, Refused):
            await send_refusal(checked, send)
        else:
            await self.app(as_json(scope, checked), replay(checked, receive), with_retry_after(send, self.limits))


def asked(scope: Message, route: str) -> bool:
    """Return whether an ASGI scope is a POST to the task's route."""
    return scope["type"] == "http" and scope["path"] == route and scope["method"] == "POST"


def overloaded(limits: Limits, *, again_s: int = 0, full_ms: int | None = None) -> Refused:
    """Return the refusal of a request that the service has no room for: status 503, with the seconds to wait."""
    error = f"the service is overloaded: an answer would take over {limits.max_latency_ms} ms"
    return Refused(503, error, retry_after_s=max(again_s, -(-limits.max_latency_ms // 1000)), full_ms=full_ms)


def refusal(refused: Refused) -> JSONResponse:
    """Return a refusal as a Starlette response."""
    headers = {} if refused.retry_after_s is None else {"retry-after": str(refused.retry_after_s)}
    return JSONResponse({"error": refused.error}, status_code=refused.status, headers=headers)


async def send_refusal(refused: Refused, send: Send) -> None:
    """Send a refusal as a JSON answer."""
    body = json.dumps({"error": refused.error}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if refused.retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % refused.retry_after_s))
    if refused.full_ms is not None:
        headers.append((FULL_HEADER, b"%d" % refused.full_ms))
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def header_of(scope: Message, name: bytes) -> str:
    """Return a header's value, or an empty string; the last value where the header comes several times."""
    for key, value in reversed(scope["headers"]):
        if key.lower() == name:
            return value.decode("latin-1")
    return ""


def as_json(scope: Message, body: bytes) -> Message:
    """Return the scope of a request whose body is replaced by JSON."""
    replaced = (b"content-type", b"content-length", b"transfer-encoding")
    kept = [(name, value) for name, value in scope["headers"] if name.lower() not in replaced]
    new = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    return {**scope, "headers": [*kept, *new]}


def replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives the body that was read, then what comes after it."""
    todo: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return todo.pop() if todo else await receive()

    return again


def with_retry_after(send: Send, limits: Limits) -> Send:
    """Return a `send` that replaces BentoML's 503 by a refusal with the seconds to wait."""
    is_refused = False

    async def explain(message: Message) -> None:
        nonlocal is_refused
        if message["type"] == "http.response.start" and message["status"] == 503:
            is_refused = True
            await send_refusal(overloaded(limits), send)
        elif not is_refused:
            await send(message)

    return explain
