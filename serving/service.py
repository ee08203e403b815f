"""The BentoML service of a bundle: POST /classify and GET /lineage.

`/livez`, `/readyz` and `/metrics` are BentoML's own. Requests are batched adaptively; the batcher turns a request away
with 503 when the expected wait passes `max_latency_ms`.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bentoml
from bentoml.exceptions import ServiceUnavailable
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from serving.bundle import CARD, load_limits, load_lineage, verify_bundle
from serving.requests import ROUTE, Refusals

DIGITS = 6
WARM_UP = "Café: a first text, so that no user waits for what is made once."


class Answer(BaseModel):
    """What is said of one text."""

    label: str
    scores: dict[str, float]
    """The probability of each label."""


def make_service(folder: Path) -> Any:
    """The service of a bundle. BundleError where one of its files is not the one that was packaged."""
    verify_bundle(folder)
    limits = load_limits(folder)

    class Classifier:
        def __init__(self) -> None:
            from serving.predictors.text_classification import Predictor  # here, since the supervising process needs no model

            end_with_parent()
            log_no_overload()
            self.predictor = Predictor.load(folder, threads=limits.threads)
            self.predictor.predict([WARM_UP])

        @bentoml.api(
            route=ROUTE, batchable=True, max_batch_size=limits.max_batch_size, max_latency_ms=limits.max_latency_ms
        )
        def classify(self, texts: list[str]) -> list[Answer]:
            """The label of each text, and the score of every label."""
            return answers(self.predictor.labels, self.predictor.predict(texts).tolist())

    service: Any = bentoml.service(name=limits.name, logging={"access": {"enabled": False}})(Classifier)
    service.add_asgi_middleware(Refusals, limits=limits)
    service.mount_asgi_app(pages(folder), name="pages")
    return service


def answers(labels: Sequence[str], scores: Sequence[Sequence[float]]) -> list[Answer]:
    """The scores of each text by label; the highest is its label."""
    return [
        Answer(
            label=labels[max(range(len(row)), key=row.__getitem__)],
            scores={label: round(score, DIGITS) for label, score in zip(labels, row, strict=True)},
        )
        for row in scores
    ]


def pages(folder: Path) -> Starlette:
    """GET /lineage: what the bundle was made from, and by which run. GET /: the model card.

    The card stands in for BentoML's own page, which calls a tag manager on the internet.
    """
    lineage, card = load_lineage(folder), (folder / CARD).read_text(encoding="utf-8")

    async def show_lineage(_: Request) -> Response:
        return JSONResponse(lineage)

    async def show_card(_: Request) -> Response:
        return PlainTextResponse(card)

    return Starlette(routes=[Route("/lineage", show_lineage), Route("/", show_card)])


def log_no_overload() -> None:
    """Keep BentoML from logging a traceback for each request that it turns away; `/metrics` counts them."""
    logging.getLogger("bentoml._internal.server.http_app").addFilter(
        lambda record: not (record.exc_info and isinstance(record.exc_info[1], ServiceUnavailable))
    )


def end_with_parent() -> None:
    """End when the process that supervises this one is gone: a killed server must not leave its workers behind."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
