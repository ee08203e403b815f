"""Passes requests on: to the champion's Bento, and during a trial to the challenger's as well.

A request is read whole before it is sent on, so that it can be sent twice; an answer goes back as it comes, so that
streamed text is not kept back. Where no Bento can answer, 503 says when to come again.
"""

import asyncio
import os
import random
import secrets
import time
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from flows.router.bentos import Bento
from flows.router.challenge import Challenge
from flows.router.keeper import Keeper
from flows.router.trial import SERVER_ERROR, TimedAnswer
from serving.bundle import SHORT
from serving.log.record import Line, TurnedAway
from serving.log.segments import Segments, now
from serving.log.traffic import PURPOSE_HEADER, SHADOW_HEADER
from serving.overload.lateness import Lateness
from serving.requests.bodies import Unfinished, too_slow
from serving.requests.keys import VARIABLE
from serving.requests.reading import FULL_HEADER

REQUEST_ID = "X-Request-Id"
FULL, PURPOSE = FULL_HEADER.decode(), PURPOSE_HEADER.decode()
NAME = "modelyard"
# RFC 9110, 7.6.1: what is said to the next server only. Expect is answered here.
HOP_BY_HOP = frozenset({
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
    "transfer-encoding", "upgrade", "content-length", "expect",
})  # fmt: skip
ADDED = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")  # what aiohttp would add of its own
READ_TIMEOUT_S = 120
"""Seconds without a byte from a Bento after which it is not waited for."""
SHADOW_TIMEOUT_S = 30
MAX_WHOLE_BYTES = 2**20
"""The longest answer, in bytes, that is read whole, which is cheaper, and can be compared."""
MAX_HELD_BYTES = 256 * 2**20
"""The most bytes that the bodies of all requests may hold at once; as many may be of bodies that are not whole yet."""


class RefusedRequest(Exception):
    """The refusal of a request that is not passed on."""

    def __init__(self, status: int, error: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(error)
        self.status, self.error, self.retry_after_s = status, error, retry_after_s

    def response(self) -> web.Response:
        headers = {"Server": NAME}
        if self.retry_after_s is not None:
            headers["Retry-After"] = str(self.retry_after_s)
        return web.json_response({"error": self.error}, status=self.status, headers=headers)


@dataclass(frozen=True)
class Asked:
    """A request, read whole."""

    method: str
    target: str
    headers: CIMultiDict[str]
    body: bytes


class Proxy:
    """The handler of all requests on the recipe's port."""

    def __init__(self, keeper: Keeper, session: aiohttp.ClientSession, *, secret: str, log: Segments | None) -> None:
        self.keeper, self.session, self.secret = keeper, session, secret
        self.turned_away = TurnedAway(log) if log is not None else None
        self.has_keys = VARIABLE in os.environ
        self.lateness = Lateness()
        self.held_bytes = 0
        self.unfinished = Unfinished(MAX_HELD_BYTES)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request: refuse it, or pass it on to the Bento that serves."""
        held = 0
        try:
            self.turn_away(request)
            body = await self.read_body(request)
            held = len(body)
            self.held_bytes += held
            return await self.answer(request, asked_of(request, body))
        except RefusedRequest as refused:
            return refused.response()
        finally:
            self.held_bytes -= held

    def turn_away(self, request: web.BaseRequest) -> None:
        """Raise RefusedRequest, before the body is read, where the champion has just said that it is full: passing the
        request on costs several times more.

        Requests that need a key or name a purpose are left for the Bento to judge.
        """
        bento = self.keeper.current
        if bento is None or not bento.is_full or not is_for_model(request.method, request.raw_path, bento):
            return
        if self.has_keys or PURPOSE in request.headers:
            return
        if self.turned_away is not None:
            self.turned_away.count(lambda: turned_away_from(bento), has_purpose=False)
        error = f"the service is overloaded; try again in {bento.retry_after_s} s"
        raise RefusedRequest(503, error, retry_after_s=bento.retry_after_s)

    async def answer(self, request: web.BaseRequest, asked: Asked) -> web.StreamResponse:
        challenge = self.keeper.challenge
        if challenge is not None and self.is_chosen(challenge, asked):
            return await (self.shadowed if challenge.rules.mode == "shadow" else self.tried)(request, asked, challenge)
        response, _ = await self.pass_on(request, asked, self.champion())
        return response or unavailable()

    def champion(self) -> Bento:
        """Return the champion's Bento; RefusedRequest with 503 while none is ready."""
        if self.keeper.current is None:
            raise RefusedRequest(503, self.keeper.excuse, retry_after_s=self.keeper.retry_after_s)
        return self.keeper.current

    def is_chosen(self, challenge: Challenge, asked: Asked) -> bool:
        """Return whether this request is one of those that are tried on the challenger."""
        return (
            challenge.is_open
            and is_for_model(asked.method, asked.target, challenge.bento)
            and random.random() < challenge.rules.share  # whoever asks must not be able to tell which
        )

    async def shadowed(self, request: web.BaseRequest, asked: Asked, challenge: Challenge) -> web.StreamResponse:
        """Return the champion's answer; the challenger is asked afterwards."""
        response, champion = await self.pass_on(request, asked, self.champion())

        async def compare() -> None:
            again, challenger = await self.ask_both(asked, challenge)
            challenge.record(timed(champion, again), challenger, request_id=request_id(asked, response))

        challenge.later(compare)
        return response or unavailable()

    async def tried(self, request: web.BaseRequest, asked: Asked, challenge: Challenge) -> web.StreamResponse:
        """Return the challenger's answer, or the champion's where the challenger fails; the
        champion is asked in any case."""
        response, challenger = await self.pass_on(request, asked, challenge.bento, keep_failure=True)
        if response is None:
            response, champion = await self.pass_on(request, asked, self.champion())
            challenge.record(champion, challenger, request_id=request_id(asked, response))
            return response or unavailable()

        async def compare() -> None:
            champion, again = await self.ask_both(asked, challenge)
            challenge.record(champion, timed(challenger, again), request_id=request_id(asked, response))

        challenge.later(compare)
        return response

    async def read_body(self, request: web.BaseRequest) -> bytes:
        """Read the whole body; RefusedRequest where it is too long or slow, or there is no room for it."""
        most = self.keeper.max_bytes
        too_long = RefusedRequest(413, f"the request is longer than {most} bytes")
        if request.content_length is not None and request.content_length > most:
            raise too_long
        if not request.body_exists:
            return b""
        if "100-continue" in request.headers.get("Expect", "").lower():
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        parts: list[bytes] = []
        size = 0
        read_s = self.keeper.max_read_s
        try:
            async with asyncio.timeout(read_s) as timeout:
                with self.unfinished.reading(timeout) as grow:
                    async for part in request.content.iter_any():
                        parts.append(part)
                        size += len(part)
                        if size > most:
                            raise too_long
                        if self.held_bytes + size > MAX_HELD_BYTES:
                            raise RefusedRequest(503, "the service is overloaded; try again in 1 s", retry_after_s=1)
                        grow(len(part))
        except TimeoutError as error:
            raise RefusedRequest(408, too_slow(round(1000 * read_s))) from error
        except (aiohttp.ClientError, ValueError) as error:
            raise RefusedRequest(400, f"the request's body cannot be read: {type(error).__name__}") from error
        return b"".join(parts)

    async def pass_on(
        self, request: web.BaseRequest, asked: Asked, bento: Bento, *, keep_failure: bool = False
    ) -> tuple[web.StreamResponse | None, TimedAnswer]:
        """Pass a request on to a Bento; return the response to the client, and the Bento's answer for the comparison.

        The response is None where none was begun; with `keep_failure` also where it is a failure, which the
        client has then not seen.
        """
        started = time.perf_counter()
        try:
            with bento.busy():
                async with self.send(asked, bento) as answer:
                    if full_ms := number_of(answer.headers, FULL):
                        # What waits here to be read is refused faster than it is passed on.
                        seconds = max(full_ms / 1000, self.lateness.seconds)
                        bento.said_full(seconds, retry_after_s=number_of(answer.headers, "Retry-After") or 1)
                    if keep_failure and answer.status >= SERVER_ERROR:
                        return None, TimedAnswer(answer.status, b"", time.perf_counter() - started)
                    headers = end_to_end(answer.headers)
                    headers.setdefault("Server", NAME)  # or aiohttp would name itself and its version
                    length = answer.content_length
                    if length is None or length > MAX_WHOLE_BYTES:
                        response = await stream(request, answer, headers)
                        return response, TimedAnswer(answer.status, b"", time.perf_counter() - started)
                    body = await answer.read()
        except (aiohttp.ClientError, OSError, TimeoutError):
            return None, TimedAnswer(0, b"", time.perf_counter() - started)
        except ValueError as error:  # aiohttp's, on a header that it will not send
            raise RefusedRequest(400, f"the request has a header that cannot be passed on: {error}") from error
        seconds = time.perf_counter() - started
        if asked.method == "HEAD":
            headers["Content-Length"] = str(length)
        return web.Response(status=answer.status, headers=headers, body=body), TimedAnswer(answer.status, body, seconds)

    async def ask(self, asked: Asked, bento: Bento) -> TimedAnswer:
        """Ask a Bento for an answer that no client gets."""
        headers = CIMultiDict([*asked.headers.items(), (SHADOW_HEADER, self.secret)])
        asked = Asked(asked.method, asked.target, headers, asked.body)
        started = time.perf_counter()
        try:
            with bento.busy():
                async with asyncio.timeout(SHADOW_TIMEOUT_S), self.send(asked, bento) as answer:
                    body = await answer.read()
        except (aiohttp.ClientError, OSError, TimeoutError):
            return TimedAnswer(0, b"", time.perf_counter() - started)
        kept = body if len(body) <= MAX_WHOLE_BYTES else b""
        return TimedAnswer(answer.status, kept, time.perf_counter() - started)

    async def ask_both(self, asked: Asked, challenge: Challenge) -> tuple[TimedAnswer, TimedAnswer]:
        """Ask champion and challenger out of sight, one after the other in a random order, so that their
        latencies compare; return both answers, the champion's first. What a client got was made beside all
        that the other clients asked."""
        bentos = [self.champion(), challenge.bento]
        answers: dict[Bento, TimedAnswer] = {}
        for bento in random.sample(bentos, 2):
            answers[bento] = await self.ask(asked, bento)
        return answers[bentos[0]], answers[bentos[1]]

    def send(self, asked: Asked, bento: Bento) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        url = URL(bento.url + asked.target, encoded=True)  # as the client wrote it
        return self.session.request(
            asked.method, url, headers=asked.headers, data=asked.body or None, allow_redirects=False
        )


def new_session() -> aiohttp.ClientSession:
    """Make the session that holds the connections to Bentos.

    A connection is used again only for a time that is surely shorter than the 5 s after which a Bento closes it: a
    request that meets its end would be lost.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=2),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=READ_TIMEOUT_S),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=ADDED,
    )


async def stream(
    request: web.BaseRequest, answer: aiohttp.ClientResponse, headers: CIMultiDict[str]
) -> web.StreamResponse:
    """Pass each part of an answer on as it comes. One that breaks off is broken off here: it must not look whole."""
    response = web.StreamResponse(status=answer.status, headers=headers)
    if answer.content_length is not None:
        response.content_length = answer.content_length
    await response.prepare(request)
    try:
        async for part in answer.content.iter_any():
            await response.write(part)
        await response.write_eof()
    except (aiohttp.ClientError, OSError, TimeoutError):
        if request.transport is not None:
            request.transport.abort()
    return response


def is_for_model(method: str, target: str, bento: Bento) -> bool:
    return method == "POST" and target.partition("?")[0] == bento.prepared.route


def number_of(headers: Mapping[str, str], name: str) -> int | None:
    """Return a header's value where it is a whole number; else None."""
    given = headers.get(name, "")
    return int(given) if given.isascii() and given.isdigit() else None


def turned_away_from(bento: Bento) -> Line:
    return Line(
        request_id=secrets.token_hex(16), time=now(), route=bento.prepared.route, version=bento.version.digest[:SHORT],
        build=bento.version.build[:SHORT], status=503, latency_ms=0.0,
    )  # fmt: skip


def asked_of(request: web.BaseRequest, body: bytes) -> Asked:
    target = request.raw_path
    if not target.startswith("/"):
        raise RefusedRequest(400, "the request's target must be a path")
    return Asked(request.method, target, end_to_end(request.headers), body)


def end_to_end(headers: Mapping[str, str]) -> CIMultiDict[str]:
    """Return the headers without those for the next server only (RFC 9110, 7.6.1) and our own."""
    named = {word.strip().lower() for word in headers.get("Connection", "").split(",")}
    left_out = HOP_BY_HOP | named | {SHADOW_HEADER.lower(), FULL}
    kept = CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in left_out)
    return kept


def timed(given: TimedAnswer, again: TimedAnswer) -> TimedAnswer:
    """Return the answer that a client got, with the latency of the repeated one, which compares; the
    repeated one where it failed."""
    return again if again.has_failed else replace(given, seconds=again.seconds)


def request_id(asked: Asked, response: web.StreamResponse | None) -> str | None:
    """Return the id by which the traffic log knows the request; None without one."""
    given = asked.headers.get(REQUEST_ID)
    return response.headers.get(REQUEST_ID, given) if response is not None else given


def unavailable() -> web.Response:
    return RefusedRequest(503, "the service stopped before it answered; try again in 1 s", retry_after_s=1).response()
