"""What stands before the service: every request is judged on its own, before it shares a batch with others.

A request is judged on a thread, so that a large one does not keep the others waiting.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

from starlette.responses import JSONResponse

from serving.endpoints import Endpoint, Limits, Refused, media_type

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class Refusals:
    """Answers a bad request itself, and tells a client that is turned away when to come again."""

    def __init__(self, app: App, *, endpoint: Endpoint, folder: Path, limits: Limits) -> None:
        self.app, self.limits, self.route = app, limits, endpoint.ROUTE
        self.max_bytes = endpoint.max_bytes(folder, limits)
        self.check = endpoint.make_check(folder, limits)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != self.route or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        content_type = header_of(scope, b"content-type")
        most = self.max_bytes.get(media_type(content_type), min(self.max_bytes.values()))
        checked = await read_body(receive, most)
        if isinstance(checked, bytes):
            checked = await asyncio.to_thread(self.check, content_type, checked)
        if isinstance(checked, Refused):
            await refusal(checked)(scope, receive, send)
        else:
            again = as_json(scope, checked), replay(checked, receive)
            await self.app(*again, with_retry_after(scope, receive, send, self.limits))


def refusal(refused: Refused) -> JSONResponse:
    return JSONResponse({"error": refused.error}, status_code=refused.status)


def header_of(scope: Message, name: bytes) -> str:
    """A header's value, or an empty string."""
    headers = {key.lower(): value.decode("latin-1") for key, value in scope["headers"]}
    return headers.get(name, "")


async def read_body(receive: Receive, most: int) -> bytes | Refused:
    """The whole body; 413 as soon as it is longer than any allowed one."""
    body, more = bytearray(), True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > most:
            return Refused(413, f"the request is longer than {most} bytes; send less at once")
    return bytes(body)


def as_json(scope: Message, body: bytes) -> Message:
    """The request with another body, which is JSON."""
    replaced = (b"content-type", b"content-length", b"transfer-encoding")
    kept = [(name, value) for name, value in scope["headers"] if name.lower() not in replaced]
    new = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    return {**scope, "headers": [*kept, *new]}


def replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body that was read, then what comes after it."""
    todo: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return todo.pop() if todo else await receive()

    return again


def with_retry_after(scope: Message, receive: Receive, send: Send, limits: Limits) -> Send:
    """A `send` that makes BentoML's 503 say what to do."""
    overloaded = False

    async def explain(message: Message) -> None:
        nonlocal overloaded
        if message["type"] == "http.response.start" and message["status"] == 503:
            overloaded = True
            error = f"the service is overloaded: an answer would take over {limits.max_latency_ms} ms"
            response = refusal(Refused(503, error))
            response.headers["Retry-After"] = str(-(-limits.max_latency_ms // 1000))
            await response(scope, receive, send)
        elif not overloaded:
            await send(message)

    return explain
