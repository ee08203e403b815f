"""What stands before the service: every request is judged on its own, before it shares a batch with others."""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.responses import JSONResponse

from serving.bundle import Limits

ROUTE = "/classify"
MAX_BYTES_PER_CHARACTER = 12  # of JSON: an escaped character beyond the basic plane

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class Refusals:
    """Answers a bad request itself, and tells a client that is turned away when to come again."""

    def __init__(self, app: App, *, limits: Limits) -> None:
        self.app, self.limits = app, limits

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != ROUTE or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        refuse = refusal_of_type(scope)
        body = b""
        if refuse is None:
            body, refuse = await read_body(receive, self.limits)
        if refuse is None:
            refuse = refusal_of_body(body, self.limits)
        if refuse is None:
            await self.app(scope, replay(body, receive), with_retry_after(scope, receive, send, self.limits))
        else:
            await refuse(scope, receive, send)


def refused(status: int, error: str) -> JSONResponse:
    return JSONResponse({"error": error}, status_code=status)


def refusal_of_type(scope: Message) -> JSONResponse | None:
    """415 for a body that does not say that it is JSON."""
    headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
    given = headers.get(b"content-type", "")
    if given.split(";")[0].strip().lower() == "application/json":
        return None
    return refused(415, f"content-type is '{given}'; send 'application/json'")


async def read_body(receive: Receive, limits: Limits) -> tuple[bytes, JSONResponse | None]:
    """The whole body; 413 as soon as it is longer than any allowed one."""
    most = 1024 + limits.max_texts * (limits.max_text_length * MAX_BYTES_PER_CHARACTER + 4)
    body, more = bytearray(), True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > most:
            return b"", refused(413, f"the request is longer than {most} bytes; send fewer or shorter texts")
    return bytes(body), None


def refusal_of_body(body: bytes, limits: Limits) -> JSONResponse | None:
    """400 for what is not a list of texts within the limits."""
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:
        return refused(400, f'the request is not JSON ({error}); send {{"texts": ["a text"]}}')
    if not isinstance(request, dict) or set(request) != {"texts"} or not isinstance(request["texts"], list):
        return refused(400, 'the request must be {"texts": ["a text", "another"]}, and nothing else')
    texts: list[Any] = request["texts"]
    if not texts:
        return refused(400, "texts is empty; send at least one text")
    if len(texts) > limits.max_texts:
        return refused(400, f"texts has {len(texts)} texts; at most {limits.max_texts} are taken in one request")
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            return refused(400, f"texts[{index}] is {json.dumps(text)[:40]}; every text must be a string")
        if len(text) > limits.max_text_length:
            return refused(
                400, f"texts[{index}] has {len(text)} characters; at most {limits.max_text_length} are taken"
            )
        if any("\ud800" <= character <= "\udfff" for character in text):
            return refused(400, f"texts[{index}] holds half of a surrogate pair, which is no character")
    return None


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
            response = refused(503, f"the service is overloaded: an answer would take over {limits.max_latency_ms} ms")
            response.headers["Retry-After"] = str(-(-limits.max_latency_ms // 1000))
            await response(scope, receive, send)
        elif not overloaded:
            await send(message)

    return explain
