"""The log of requests and answers: a middleware of a bundle's service, behind the keys.

It gives every request of the bundle's route an id (header `X-Request-Id`; a client's own is kept where it is a short
token) and appends, before the last byte of the answer is sent, one JSON line for each text or array
(serving/log/record.py). The files are those of serving/log/segments.py, `traffic-*.jsonl` and `feedback-*.jsonl`. A
request without an answer (refused, failed, given up) is one line without input and output; those that were turned away
unread are counted, and written once a second. The purpose is the value of the request header `Modelyard-Purpose`.

The environment of the served process says where and what it writes, see `TrafficSettings`; without a folder nothing is
written and no feedback is taken. GET /status says how the log does: a full disk loses records, never an answer.
"""

import asyncio
import hmac
import json
import os
import secrets
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from starlette.responses import JSONResponse

from serving.bundle import SHORT, identify
from serving.endpoint import Endpoint, Limits, Pair, hashed, media_type
from serving.log.feedback import labels_of, take_feedback
from serving.log.record import Line, TurnedAway
from serving.log.segments import FEEDBACK, TRAFFIC, Rotation, Segments, shown_time
from serving.requests.bodies import CLIENT_GONE, Bodies
from serving.requests.reading import TOKEN, App, Message, Receive, Send, header_of

FOLDER, INPUT = "MODELYARD_TRAFFIC", "MODELYARD_TRAFFIC_INPUT"
MAX_BYTES, MAX_AGE_S, MAX_FILES = (
    "MODELYARD_TRAFFIC_MAX_BYTES", "MODELYARD_TRAFFIC_MAX_AGE_S", "MODELYARD_TRAFFIC_MAX_FILES"
)  # fmt: skip
SHADOW, SHADOW_HEADER = "MODELYARD_SHADOW", "X-Modelyard-Shadow"
"""The environment variable of the router's secret, and the header that carries it.

The router sends the header with requests whose answers nobody gets, which are not logged.
"""
VERDICT = "verdict.json"
"""The name of the file that `modelyard monitor` leaves in the folder of the log."""
HEADER = b"x-request-id"
PURPOSE_HEADER = b"modelyard-purpose"
IN_A_THREAD_BYTES = 65_536  # beyond which parsing would keep the other requests waiting
NUM_DRAWN = 64  # ids, with one call of the system, which costs as much as the rest of a refusal

Kind = Literal["text", "hash"]


@dataclass(frozen=True)
class TrafficSettings:
    """The settings of the traffic log, as the environment gives them."""

    folder: Path
    """The folder of the log: MODELYARD_TRAFFIC."""
    input: Kind
    """The form of a logged input: MODELYARD_TRAFFIC_INPUT, where `text` keeps the input, and `hash` (the default) keeps
    only its sha256 and length."""
    rotation: Rotation
    """The rotation of the files: MODELYARD_TRAFFIC_MAX_BYTES and _MAX_AGE_S of one file, and _MAX_FILES of a kind."""


def read_settings(environment: Mapping[str, str]) -> TrafficSettings | None:
    """Return the settings that an environment gives; None where it names no folder.

    Raise ValueError where a variable has an invalid value.
    """
    if not environment.get(FOLDER):
        return None
    kind = environment.get(INPUT, "hash")
    if kind != "text" and kind != "hash":
        raise ValueError(f"{INPUT} is '{kind}'; it must be 'text' or 'hash'")
    numbers = {MAX_BYTES: 16 * 2**20, MAX_AGE_S: 86_400, MAX_FILES: 64}
    for name in numbers:
        given = environment.get(name, str(numbers[name]))
        if not given.isascii() or not given.isdigit() or int(given) < 1:
            raise ValueError(f"{name} is '{given}'; it must be a whole number from 1")
        numbers[name] = int(given)
    rotation = Rotation(max_bytes=numbers[MAX_BYTES], max_age_s=numbers[MAX_AGE_S], max_files=numbers[MAX_FILES])
    return TrafficSettings(Path(environment[FOLDER]), kind, rotation)


def draw_ids() -> Generator[str]:
    """Yield request ids of 32 hex digits that nobody can guess: whoever knows one may say what the right answer was."""
    while True:
        drawn = secrets.token_hex(16 * NUM_DRAWN)
        yield from (drawn[start : start + 32] for start in range(0, len(drawn), 32))


class Traffic:
    """The middleware that logs the requests of the bundle's route, and answers POST /feedback and GET /status
    itself."""

    def __init__(self, app: App, *, endpoint: Endpoint, folder: Path, limits: Limits) -> None:
        self.app, self.route, self.endpoint = app, endpoint.ROUTE, endpoint
        identity = identify(folder)
        self.version, self.build = identity.version[:SHORT], identity.build[:SHORT]
        self.labels = labels_of(folder)
        self.bodies = Bodies(limits)
        self.check = endpoint.make_check(folder, limits)
        self.shadow = os.environ.get(SHADOW, "").encode()
        self.settings = settings = read_settings(os.environ)
        self.ids = draw_ids()
        self.log = self.feedback = self.turned_away = None
        if settings is not None:
            self.log = Segments(settings.folder, kind=TRAFFIC, rotation=settings.rotation)
            self.turned_away = TurnedAway(self.log)
            self.feedback = Segments(settings.folder, kind=FEEDBACK, rotation=settings.rotation)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        asked = (scope["method"], scope["path"]) if scope["type"] == "http" else None
        if asked == ("POST", self.route) and not self.is_shadow(scope):
            await Exchange(self, scope, receive, send).run()
        elif asked == ("POST", "/feedback"):
            answer = await take_feedback(scope, receive, self.feedback, self.labels, bodies=self.bodies)
            await answer(scope, receive, send)
        elif asked == ("GET", "/status"):
            await JSONResponse(self.status())(scope, receive, send)
        else:
            try:
                await self.app(scope, receive, send)
            finally:
                if scope["type"] == "lifespan" and self.turned_away is not None:
                    self.turned_away.write()

    def is_shadow(self, scope: Message) -> bool:
        """Return whether the request is one that the router sends to compare two versions, and whose answer nobody
        gets."""
        given = header_of(scope, SHADOW_HEADER.lower().encode()).encode()
        return bool(self.shadow) and hmac.compare_digest(given, self.shadow)

    def status(self) -> dict[str, Any]:
        """Return the version and build, the last verdict on drift or None, and the state of each log.

        A log's state is `off`, `on`, or `failing` with the reason, and it comes with the counts of records written and
        lost.
        """
        logs = {log.kind: log for log in (self.log, self.feedback) if log is not None}
        drift = read_verdict(self.settings.folder) if self.settings else None
        return {"version": self.version, "build": self.build, "drift": drift} | {
            kind: {"state": "off"}
            if kind not in logs
            else {"state": "failing" if logs[kind].state.error else "on", **asdict(logs[kind].state)}
            for kind in (TRAFFIC, FEEDBACK)
        }


def read_verdict(folder: Path) -> dict[str, Any] | None:
    """Return the last verdict of `modelyard monitor`; None where it has not run, or its file cannot be read."""
    try:
        return json.loads((folder / VERDICT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


class Exchange:
    """A request and its answer, on their way through the middleware."""

    def __init__(self, traffic: Traffic, scope: Message, receive: Receive, send: Send) -> None:
        self.traffic, self.scope, self.take, self.give = traffic, scope, receive, send
        given = header_of(scope, HEADER)
        self.id = given if TOKEN.fullmatch(given) else next(traffic.ids)
        self.asked, self.answered, self.status = bytearray(), bytearray(), 0
        self.time, self.started = time.time(), time.perf_counter()
        self.is_recorded = traffic.log is None

    async def run(self) -> None:
        try:
            await self.traffic.app(self.scope, self.receive, self.send)
        except Exception:
            self.status = self.status or 500
            raise
        finally:
            if not self.is_recorded:
                self.status = CLIENT_GONE if self.status in (0, 200) else self.status
                self.record()

    async def receive(self) -> Message:
        message = await self.take()
        if not self.is_recorded:
            self.asked += message.get("body", b"")
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [pair for pair in message.get("headers", []) if pair[0].lower() != HEADER]
            message = {**message, "headers": [*headers, (HEADER, self.id.encode())]}
        elif not self.is_recorded:
            body = message.get("body", b"")
            self.answered += body
            if not message.get("more_body", False) or self.traffic.endpoint.is_last(body):
                is_large = len(self.asked) + len(self.answered) > IN_A_THREAD_BYTES
                await asyncio.to_thread(self.record) if is_large else self.record()
        await self.give(message)

    def record(self) -> None:
        """Append the lines of the exchange; a failure is counted as a lost record, and does not cost the answer."""
        self.is_recorded = True
        log, turned_away = self.traffic.log, self.traffic.turned_away
        assert log is not None
        assert turned_away is not None
        latency_ms = round((time.perf_counter() - self.started) * 1000, 3)
        if self.status == 503 and not self.asked:
            turned_away.count(lambda: self.line(latency_ms), has_purpose=self.purpose is not None)
            return
        try:
            lines = self.lines(latency_ms)
        except Exception as error:
            log.lose(f"an exchange could not be described: {type(error).__name__}")
        else:
            log.append(lines)

    @property
    def purpose(self) -> str | None:
        given = header_of(self.scope, PURPOSE_HEADER)
        return given if TOKEN.fullmatch(given) else None

    def line(self, latency_ms: float) -> Line:
        """Return a line with the fields that all texts or arrays of the request share."""
        return Line(
            request_id=self.id, time=shown_time(self.time), route=self.traffic.route, version=self.traffic.version,
            build=self.traffic.build, status=self.status, latency_ms=latency_ms, purpose=self.purpose,
        )  # fmt: skip

    def lines(self, latency_ms: float) -> bytes:
        """Return the encoded lines: one for each text or array answered, or one line for a request without an
        answer."""
        line = self.line(latency_ms)
        if self.status != 200:
            return line.encode()
        pairs = self.pairs()
        return b"".join(
            replace(
                line,
                item=item,
                items=len(pairs),
                input=self.shown(asked),
                length=len(asked) if isinstance(asked, str | list) else None,
                output=output,
            ).encode()
            for item, (asked, output) in enumerate(pairs)
        )

    def pairs(self) -> Sequence[Pair]:
        """Return each text, array or prompt of the request with its answer."""
        kind, body = header_of(self.scope, b"content-type"), bytes(self.asked)
        if media_type(kind) == "application/json":
            request = json.loads(body)
        else:  # an upload, whose images are read once more
            request = {"arrays": self.traffic.check(kind, body)}
        return self.traffic.endpoint.pairs(request, bytes(self.answered), is_hashed=self.is_hashed)

    @property
    def is_hashed(self) -> bool:
        return self.traffic.settings is None or self.traffic.settings.input == "hash"

    def shown(self, asked: Any) -> Any:
        return hashed(asked) if self.is_hashed else asked
