"""The answering of a task's requests ahead of BentoML's own way to the service, which costs as much as the model.

A request is read, judged, put into the backlog, and answered with the result. A request that cannot be answered in time
is told so before its body is read. BentoML's way is left to the addresses that are asked now and then
(docs/decisions.md has the figures).
"""

import asyncio
import logging
import math
from pathlib import Path

from serving.endpoint import Check, Endpoint, Limits, Question, Refused
from serving.overload.backlog import Backlog, Full, Overdue, Reply
from serving.requests.bodies import CLIENT_GONE, Bodies, most_bytes
from serving.requests.reading import (
    App,
    Message,
    Receive,
    Send,
    header_of,
    overloaded,
    send_refusal,
)

logger = logging.getLogger(__name__)

SHARE_OF_WAIT = 1 / 2  # of the longest queue: a router that does not ask for so long leaves it work
INLINE_BYTES = 16_384  # of a body that is judged at once: handing it to a thread would take longer


class Answers:
    """The middleware that answers POST to the task's route, and to those beside it that the same model answers;
    everything else goes on to BentoML."""

    def __init__(self, app: App, *, endpoint: Endpoint, folder: Path, limits: Limits, backlog: Backlog) -> None:
        self.app, self.limits, self.backlog, self.route = app, limits, backlog, endpoint.ROUTE
        self.max_bytes = endpoint.max_bytes(folder, limits)
        self.checks = {endpoint.ROUTE: endpoint.make_check(folder, limits), **endpoint.questions(folder, limits)}
        self.bodies = Bodies(limits)
        self.num_open = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        check = self.checks.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if check is None:
            await self.app(scope, receive, send)
            return
        content_type = header_of(scope, b"content-type")
        found: bytes | Reply | Refused
        if self.num_open >= self.limits.max_requests or self.backlog.is_full():
            wait_s = min(self.backlog.wait_s(), self.backlog.max_wait_s)
            found = self.busy(full_ms=round(1000 * SHARE_OF_WAIT * wait_s))
        else:
            found = await self.bodies.read(receive, most_bytes(content_type, self.max_bytes))
        if isinstance(found, bytes):
            # A question may be short and yet take long, to be judged and to be answered.
            is_long = len(found) > INLINE_BYTES or scope["path"] != self.route
            found = await self.answer_in_turn(check, content_type, found, receive, is_long=is_long)
        if isinstance(found, Refused):
            await send_refusal(found, send)
        else:
            await send_reply(found, send)

    async def answer_in_turn(
        self, check: Check, content_type: str, body: bytes, receive: Receive, *, is_long: bool
    ) -> Reply | Refused:
        """Answer a whole request where there is a place: one that is not sent to its end must not keep others out."""
        if self.num_open >= self.limits.max_requests:
            return self.busy()
        self.num_open += 1
        try:
            return await self.answer(check, content_type, body, receive, is_long=is_long)
        finally:
            self.num_open -= 1

    async def answer(
        self, check: Check, content_type: str, body: bytes, receive: Receive, *, is_long: bool
    ) -> Reply | Refused:
        """Return the Reply to a request, or the Refused that says why there is none.

        A long request whose client leaves is not computed any further.
        """
        if is_long:
            found = await asyncio.to_thread(check, content_type, body)
        else:
            found = check(content_type, body)
        if isinstance(found, Refused):
            return found
        is_question = isinstance(found, Question)
        reply = self.backlog.offer(found.rows, found.make_reply) if is_question else self.backlog.offer(found)
        if isinstance(reply, Full):
            return self.busy(again_s=reply.again_s)
        try:
            if is_long and not await is_awaited(reply, receive):
                return Refused(CLIENT_GONE, "the client left")
            return await reply
        except Overdue:
            return self.busy()
        except Exception as error:
            # Its kind only: what it says may quote the request.
            logger.error("a request failed in the model: %s", type(error).__name__)
            return Refused(500, "the model failed on this request; the log of the server has the kind of error")

    def busy(self, *, again_s: float | None = None, full_ms: int | None = None) -> Refused:
        again_s = self.backlog.wait_s() if again_s is None else again_s
        return overloaded(self.limits, again_s=math.ceil(again_s), full_ms=full_ms)


async def is_awaited(reply: "asyncio.Future[Reply]", receive: Receive) -> bool:
    """Wait until there is a reply; where the client leaves before, cancel it and return False."""
    told = asyncio.ensure_future(receive())
    await asyncio.wait([reply, told], return_when=asyncio.FIRST_COMPLETED)
    if reply.done() or told.result()["type"] != "http.disconnect":
        told.cancel()
        return True
    return not reply.cancel()


async def send_reply(reply: Reply, send: Send) -> None:
    headers = [(b"content-type", reply.media_type), (b"content-length", b"%d" % len(reply.body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})
