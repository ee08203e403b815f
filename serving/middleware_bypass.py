"""The way of a model's requests around BentoML's middlewares, which cost more than all else that is done for a request
but the model, and more than a refusal.

A slow refusal makes the next ones late: requests that arrive faster than they are read wait in their sockets, where
nobody counts them (docs/decisions.md has the figures). BentoML's metrics get the same figures as from its own
middleware, many requests at a time.
"""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Collection
from typing import Any

from bentoml._internal.context import server_context
from bentoml._internal.server.http.instruments import RunnerTrafficMetricsMiddleware

from serving.log.record import COUNTED_S
from serving.overload.backlog import Backlog
from serving.requests.reading import App, Message, Receive, Send

METRICS = "/metrics"


class MiddlewareBypass:
    """The outermost of the project's middlewares, to which POST requests on the model's routes come first."""

    def __init__(self, app: App, *, routes: Collection[str], backlog: Backlog) -> None:
        self.ours, self.routes, self.backlog = app, frozenset(routes), backlog

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":  # the first that comes, through all of BentoML's middlewares
            self.stand_before(scope["app"])
            await self.ours(scope, receive, self.watched(send))
        else:
            await self.ours(scope, receive, send)

    def watched(self, send: Send) -> Send:
        """Return a `send` that starts measuring the event loop's lateness once the application has started."""

        async def watch(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                self.backlog.lateness.start()
            await send(message)

        return watch

    def stand_before(self, starlette: Any) -> None:
        """Put this middleware before all others of a Starlette application."""
        theirs: App = starlette.middleware_stack
        metrics = metrics_of(theirs)
        ours = self.ours if metrics is None else Counted(self.ours, metrics)

        async def choose(scope: Message, receive: Receive, send: Send) -> None:
            if scope["type"] == "http" and scope["method"] == "POST" and scope["path"] in self.routes:
                await ours(scope, receive, send)
                return
            if isinstance(ours, Counted) and scope["type"] == "http" and scope["path"] == METRICS:
                ours.tell()
            await theirs(scope, receive, send)

        starlette.middleware_stack = choose


class Counted:
    """An application whose requests are in BentoML's metrics: how many, how long they took, and how many are open.

    The metrics get the figures when they are asked for, or COUNTED_S seconds later: one by one they would cost a tenth
    of a refusal.
    """

    def __init__(self, app: App, metrics: RunnerTrafficMetricsMiddleware) -> None:
        self.app, self.metrics = app, metrics
        self.num_open: Counter[str] = Counter()
        self.took_s: defaultdict[tuple[str, int], list[float]] = defaultdict(list)
        """The seconds that each answer took, by route and HTTP status, which BentoML's metrics do not have yet."""

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        route, status, started = scope["path"], 500, time.perf_counter()

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self.num_open[route] += 1
        try:
            await self.app(scope, receive, watch)
        finally:
            self.num_open[route] -= 1
            if not self.took_s:
                asyncio.get_running_loop().call_later(COUNTED_S, self.tell)
            self.took_s[route, status].append(time.perf_counter() - started)

    def tell(self) -> None:
        """Add to BentoML's metrics what they do not have yet."""
        names = {
            "service_name": server_context.bento_name,
            "service_version": server_context.bento_version,
            "runner_name": server_context.service_name,
        }
        for route, number in self.num_open.items():
            self.metrics.metrics_request_in_progress.labels(endpoint=route, **names).set(number)
        told, self.took_s = self.took_s, defaultdict(list)
        for (route, status), took_s in told.items():
            labels = {"endpoint": route, "http_response_code": status, **names}
            self.metrics.metrics_request_total.labels(**labels).inc(len(took_s))
            duration = self.metrics.metrics_request_duration.labels(**labels)
            for seconds in took_s:
                duration.observe(seconds)


def metrics_of(app: Any) -> RunnerTrafficMetricsMiddleware | None:
    """Return BentoML's metrics middleware among nested middlewares; None where its metrics are turned off."""
    while app is not None and not isinstance(app, RunnerTrafficMetricsMiddleware):
        app = getattr(app, "app", None)
    return app
