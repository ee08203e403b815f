"""The refusal of requests that a full backlog cannot take, ahead of BentoML's costly middlewares.

BentoML's middlewares cost more than a refusal, and a slow refusal makes the next ones late: requests that arrive faster
than they are read wait in their sockets, where nobody counts them (docs/decisions.md has the figures).
"""

import asyncio
from collections import Counter
from collections.abc import Collection
from typing import Any

from bentoml._internal.context import server_context
from bentoml._internal.server.http.instruments import RunnerTrafficMetricsMiddleware

from serving.log.record import COUNTED_S
from serving.overload.backlog import Backlog
from serving.requests.reading import App, Message, Receive, Send, asked


class EarlyRefusal:
    """The outermost of the project's middlewares, which also steps ahead of BentoML's while the backlog is full.

    Requests to the routes that the model answers then come here first. They are still counted in BentoML's
    `bentoml_service_request_total`, within COUNTED_S seconds, and in none of its other metrics.
    """

    def __init__(self, app: App, *, routes: Collection[str], backlog: Backlog) -> None:
        self.ours, self.routes, self.backlog = app, routes, backlog
        self.counts: Counter[tuple[str, int]] = Counter()
        """The number of answers by route and HTTP status that BentoML's metrics do not have yet."""

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
                self.backlog.lag.start()
            await send(message)

        return watch

    def stand_before(self, starlette: Any) -> None:
        """Put this middleware before all others of a Starlette application."""
        theirs: App = starlette.middleware_stack
        metrics = metrics_of(theirs)

        async def choose(scope: Message, receive: Receive, send: Send) -> None:
            route = next((route for route in self.routes if asked(scope, route)), None)
            if route is not None and self.backlog.is_full():
                await self.ours(scope, receive, send if metrics is None else self.counted(send, metrics, route))
            else:
                await theirs(scope, receive, send)

        starlette.middleware_stack = choose

    def counted(self, send: Send, metrics: RunnerTrafficMetricsMiddleware, route: str) -> Send:
        """Return a `send` that counts an answer by its status, and adds the counts to BentoML's metrics a little
        later."""

        async def count(message: Message) -> None:
            if message["type"] == "http.response.start":
                if not self.counts:
                    asyncio.get_running_loop().call_later(COUNTED_S, self.tell, metrics)
                self.counts[route, message["status"]] += 1
            await send(message)

        return count

    def tell(self, metrics: RunnerTrafficMetricsMiddleware) -> None:
        """Add the counts to BentoML's metrics in one go: one by one they would cost a tenth of a refusal."""
        counts, self.counts = self.counts, Counter()
        for (route, status), number in counts.items():
            metrics.metrics_request_total.labels(
                endpoint=route,
                service_name=server_context.bento_name,
                service_version=server_context.bento_version,
                http_response_code=status,
                runner_name=server_context.service_name,
            ).inc(number)


def metrics_of(app: Any) -> RunnerTrafficMetricsMiddleware | None:
    """Return BentoML's metrics middleware among nested middlewares; None where its metrics are turned off."""
    while app is not None and not isinstance(app, RunnerTrafficMetricsMiddleware):
        app = getattr(app, "app", None)
    return app
