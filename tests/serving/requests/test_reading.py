import asyncio
import json
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from serving.endpoint import Refused
from serving.requests.reading import Refusals
from tests.patience import PATIENCE_S


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """An application that answers with the request's body."""
    message = await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": message["body"]})


def client_of(check: Callable[[str, bytes], bytes | Refused], **max_bytes: int) -> httpx.AsyncClient:
    endpoint = SimpleNamespace(
        ROUTE="/ask",
        max_bytes=lambda folder, limits: {name.replace("_", "/"): most for name, most in max_bytes.items()},
        make_check=lambda folder, limits: check,
    )
    app = Refusals(
        echo,
        endpoint=endpoint,
        folder=Path(),
        limits=SimpleNamespace(max_requests=9, max_read_ms=9000, max_latency_ms=1),
    )
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost")


def test_other_requests_are_answered_while_one_is_judged() -> None:
    judged = threading.Event()

    def check(content_type: str, body: bytes) -> bytes | Refused:
        if body == b"long":
            return b'"in turn"' if judged.wait(PATIENCE_S) else Refused(400, "nobody else was answered meanwhile")
        judged.set()
        return body

    async def ask() -> list[httpx.Response]:
        async with client_of(check, text_plain=100) as client:
            return await asyncio.gather(*(client.post("/ask", content=body) for body in (b"long", b'"short"')))

    assert [response.json() for response in asyncio.run(ask())] == ["in turn", "short"]


@pytest.mark.parametrize(
    ("kind", "most"), [("a/json", 10), ("A/JSON; charset=utf-8", 10), ("a/form", 20), ("a/other", 10), ("", 10)]
)
def test_body_is_read_as_far_as_its_type_may_be_long(kind: str, most: int) -> None:
    async def ask(length: int) -> httpx.Response:
        async with client_of(lambda content_type, body: json.dumps(len(body)).encode(), a_json=10, a_form=20) as client:
            return await client.post("/ask", content=b"x" * length, headers={"content-type": kind})

    assert asyncio.run(ask(most)).json() == most
    refused = asyncio.run(ask(most + 1))
    assert refused.status_code == 413
    assert refused.json() == {"error": f"the request is longer than {most} bytes; send less at once"}
