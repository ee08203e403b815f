"""Requests of clients that leave, at the middleware that answers them, as uvicorn calls it."""

import asyncio
import json
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from components.plumbing.artifacts import write_json
from serving.overload.backlog import Backlog, Reply
from serving.predictors.scores import ScoredLabel
from serving.requests.answering import Answers
from serving.requests.bodies import CLIENT_GONE
from serving.tasks.text_classification import endpoint
from tests.patience import PATIENCE_S
from tests.tiny_model import SETTINGS

LIMITS = endpoint.Limits(
    threads=1, max_texts=64, max_text_length=2000, max_body_bytes=100_000, max_requests=2, max_read_ms=1000,
    max_latency_ms=60_000,
)  # fmt: skip
TEXT = "word " * 60
ROW_S = 0.01


class Slow:
    """A model that takes a hundredth of a second for each text."""

    warm_up, batch_size = "a text", 1

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.go = threading.Event()
        """Until it is set, no text is computed but the first."""
        self.go.set()

    def weight(self, row: str) -> float:
        return 1.0

    def compute(self, rows: Sequence[str]) -> Sequence[ScoredLabel]:
        assert not self.texts or self.go.wait(PATIENCE_S)
        time.sleep(ROW_S * len(rows))
        self.texts += rows
        return [{"label": "positive", "scores": {"negative": 0.2, "positive": 0.8}} for _ in rows]

    def reply(self, results: Sequence[Any]) -> Reply:
        return Reply(json.dumps(results).encode())


@pytest.fixture
def asked(tmp_path: Path) -> tuple[Answers, Slow]:
    write_json(tmp_path / "predictor.json", SETTINGS)
    backlog, model = Backlog(threads=1, max_latency_ms=LIMITS.max_latency_ms), Slow()
    backlog.start(model)
    model.texts.clear()
    return Answers(nothing, endpoint=endpoint, folder=tmp_path, limits=LIMITS, backlog=backlog), model


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError(f"{scope['path']} is none of the task's own")


async def post(answers: Answers, path: str, request: Any, *, gone: asyncio.Event) -> list[Any]:
    """What is sent to a client that waits until it is gone."""
    messages = [{"type": "http.request", "body": json.dumps(request).encode(), "more_body": False}]
    sent: list[Any] = []

    async def receive() -> Any:
        if messages:
            return messages.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "headers": [(b"content-type", b"application/json")]}
    await answers(scope, receive, send)
    return sent


def test_explanation_whose_client_left_is_computed_no_further(asked: tuple[Answers, Slow]) -> None:
    answers, model = asked

    async def leave() -> list[Any]:
        gone = asyncio.Event()
        model.go.clear()
        asking = asyncio.create_task(post(answers, "/explain", {"text": TEXT}, gone=gone))
        while not model.texts:
            await asyncio.sleep(ROW_S / 10)
        gone.set()
        sent = await asking
        model.go.set()
        await asyncio.sleep(10 * ROW_S)  # in which ten more rows would be computed
        return sent

    sent = asyncio.run(leave())
    assert 1 <= len(model.texts) <= 2  # the first, and the one that was begun
    assert sent[0]["status"] == CLIENT_GONE
    assert answers.num_open == 0
    assert answers.backlog.wait_s() < ROW_S * 60

    async def stay() -> list[Any]:  # there is room for the next one, which gets its answer
        return await post(answers, "/explain", {"text": "good film"}, gone=asyncio.Event())

    start, body = asyncio.run(stay())
    assert start["status"] == 200
    assert [piece["start"] for piece in json.loads(body["body"])["pieces"]] == [0, 5]


def test_explanation_whose_client_stays_is_computed_whole(asked: tuple[Answers, Slow]) -> None:
    answers, model = asked
    start, body = asyncio.run(post(answers, "/explain", {"text": TEXT}, gone=asyncio.Event()))
    assert start["status"] == 200
    assert len(model.texts) == 61
    assert len(json.loads(body["body"])["pieces"]) == 60
