"""What was asked and what was answered, and what was right: an append-only log of the service, and POST /feedback.

The outermost middleware of a bundle's service. It gives every request of the bundle's route an id (header
`X-Request-Id`; a client's own is kept where it is a short token) and appends, before the last byte of the answer is
sent, one JSON line for each text or array: request_id, item, items, time, route, input, length, output, version,
latency_ms, status, purpose. The files are those of serving/segments.py, `traffic-*.jsonl` and `feedback-*.jsonl`. A
request without an answer (refused, failed, given up) is one line without input and output. The purpose is what a client
says in the header `Modelyard-Purpose`, as the page does when it asks which words mattered; it is null for all else.

Where it writes, and what, is given by the environment of the served process, see `Settings`; without a folder nothing
is written and no feedback is taken. GET /status says how the log does: a full disk loses records, never an answer.
"""

import asyncio
import hashlib
import hmac
import json
import os
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from starlette.responses import JSONResponse

from serving.bundle import MANIFEST, load_about
from serving.endpoints import Endpoint, Limits, Refused, media_type
from serving.requests import App, Message, Receive, Send, header_of, read_body, refusal
from serving.segments import Rotation, Segments, last_line_with

FOLDER, INPUT = "MODELYARD_TRAFFIC", "MODELYARD_TRAFFIC_INPUT"
MAX_BYTES, MAX_AGE_S, MAX_FILES = (
    "MODELYARD_TRAFFIC_MAX_BYTES", "MODELYARD_TRAFFIC_MAX_AGE_S", "MODELYARD_TRAFFIC_MAX_FILES"
)  # fmt: skip
SHADOW, SHADOW_HEADER = "MODELYARD_SHADOW", "X-Modelyard-Shadow"
"""A secret of the router's, and where it sends it: with requests whose answers nobody gets, which are not logged."""
TRAFFIC, FEEDBACK = "traffic", "feedback"
"""The two kinds of files."""
VERDICT = "verdict.json"
"""What `modelyard monitor` leaves in the folder of the log."""
HEADER = b"x-request-id"
PURPOSE = b"modelyard-purpose"
TOKEN = re.compile(r"[A-Za-z0-9._-]{1,64}")
MAX_FEEDBACK_BYTES = 8192
MAX_NOTE_LENGTH = 1000
IN_A_THREAD_BYTES = 65_536  # beyond which parsing would keep the other requests waiting
CLIENT_GONE = 499  # as nginx calls it
LAST_EVENT = b'"finish_reason"'  # in a stream of text, whose own quotes are escaped

Kind = Literal["text", "hash"]


@dataclass(frozen=True)
class Settings:
    """What the environment says."""

    folder: Path
    """MODELYARD_TRAFFIC."""
    input: Kind
    """MODELYARD_TRAFFIC_INPUT: `text` keeps what was asked, `hash` (if nothing is said) its sha256 and length only."""
    rotation: Rotation
    """MODELYARD_TRAFFIC_MAX_BYTES, _MAX_AGE_S and _MAX_FILES: of one file, and how many of a kind stay."""


def read_settings(environment: Mapping[str, str]) -> Settings | None:
    """None where no folder is named; ValueError on a value that cannot be used."""
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
    return Settings(Path(environment[FOLDER]), kind, rotation)


class Traffic:
    """Logs the requests of the bundle's route, and answers POST /feedback and GET /status itself."""

    def __init__(self, app: App, *, endpoint: Endpoint, folder: Path, limits: Limits) -> None:
        self.app, self.route, self.task = app, endpoint.ROUTE, load_about(folder).task
        self.version = hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()[:12]
        self.labels = labels_of(folder)
        self.check = endpoint.make_check(folder, limits)
        self.shadow = os.environ.get(SHADOW, "").encode()
        self.settings = settings = read_settings(os.environ)
        self.log = self.feedback = None
        if settings is not None:
            self.log = Segments(settings.folder, kind=TRAFFIC, rotation=settings.rotation)
            self.feedback = Segments(settings.folder, kind=FEEDBACK, rotation=settings.rotation)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        asked = (scope["method"], scope["path"]) if scope["type"] == "http" else None
        if asked == ("POST", self.route) and not self.is_shadow(scope):
            await Exchange(self, scope, receive, send).run()
        elif asked == ("POST", "/feedback"):
            await (await self.take_feedback(scope, receive))(scope, receive, send)
        elif asked == ("GET", "/status"):
            await JSONResponse(self.status())(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def is_shadow(self, scope: Message) -> bool:
        """Whether the router compares two versions, and answers nobody."""
        given = header_of(scope, SHADOW_HEADER.lower().encode()).encode()
        return bool(self.shadow) and hmac.compare_digest(given, self.shadow)

    def status(self) -> dict[str, Any]:
        """The version, the last verdict on drift or None, and how the log does: `off`, `on`, or `failing` with the
        reason and what was lost so far."""
        logs = {log.kind: log for log in (self.log, self.feedback) if log is not None}
        drift = read_verdict(self.settings.folder) if self.settings else None
        return {"version": self.version, "drift": drift} | {
            kind: {"state": "off"}
            if kind not in logs
            else {"state": "failing" if logs[kind].state.error else "on", **asdict(logs[kind].state)}
            for kind in (TRAFFIC, FEEDBACK)
        }

    async def take_feedback(self, scope: Message, receive: Receive) -> JSONResponse:
        """What was right for an earlier request: one line, joined by request_id and item."""
        body = await read_body(receive, MAX_FEEDBACK_BYTES)
        if isinstance(body, Refused):
            return refusal(body)
        if media_type(header_of(scope, b"content-type")) != "application/json":
            return refusal(Refused(415, "send feedback as 'application/json'"))
        if self.settings is None or self.feedback is None:
            return refusal(Refused(404, f"this service keeps no log, so that feedback joins nothing; set {FOLDER}"))
        given = read_feedback(body, self.labels)
        if isinstance(given, Refused):
            return refusal(given)
        fault = await asyncio.to_thread(fault_of_id, self.settings.folder, given)
        if fault is not None:
            return refusal(fault)
        if not self.feedback.append(as_line({**given, "time": now()})):
            response = refusal(Refused(503, f"the feedback could not be kept: {self.feedback.state.error}"))
            response.headers["Retry-After"] = "60"
            return response
        return JSONResponse(given)


def read_verdict(folder: Path) -> dict[str, Any] | None:
    """What `modelyard monitor` found last; None where it has not run, or its file cannot be read."""
    try:
        return json.loads((folder / VERDICT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


class Exchange:
    """One request and its answer, on their way through."""

    def __init__(self, traffic: Traffic, scope: Message, receive: Receive, send: Send) -> None:
        self.traffic, self.scope, self.take, self.give = traffic, scope, receive, send
        given = header_of(scope, HEADER)
        self.id = given if TOKEN.fullmatch(given) else secrets.token_hex(16)
        self.asked, self.answered, self.status = bytearray(), bytearray(), 0
        self.time, self.started = now(), time.perf_counter()
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
            if not message.get("more_body", False) or LAST_EVENT in body:
                is_large = len(self.asked) + len(self.answered) > IN_A_THREAD_BYTES
                await asyncio.to_thread(self.record) if is_large else self.record()
        await self.give(message)

    def record(self) -> None:
        """Append the lines; whatever goes wrong with it must not cost the answer."""
        self.is_recorded = True
        log = self.traffic.log
        assert log is not None
        latency_ms = round((time.perf_counter() - self.started) * 1000, 3)
        try:
            lines = self.lines(latency_ms)
        except Exception as error:
            log.lose(f"an exchange could not be described: {type(error).__name__}")
        else:
            log.append(lines)

    def lines(self, latency_ms: float) -> bytes:
        """One line for each text or array that was answered."""
        pairs: list[tuple[Any, Any]] = self.pairs() if self.status == 200 else [(None, None)]
        given = header_of(self.scope, PURPOSE)
        purpose = given if TOKEN.fullmatch(given) else None
        rest = {
            "version": self.traffic.version, "latency_ms": latency_ms, "status": self.status, "purpose": purpose,
        }  # fmt: skip
        return b"".join(
            as_line(
                {
                    "request_id": self.id,  # first: feedback looks for it
                    "item": item,
                    "items": len(pairs),
                    "time": self.time,
                    "route": self.traffic.route,
                    "input": self.shown(asked),
                    "length": len(asked) if isinstance(asked, str | list) else None,
                    "output": output,
                    **rest,
                }
            )
            for item, (asked, output) in enumerate(pairs)
        )

    def pairs(self) -> list[tuple[Any, Any]]:
        """Each text or array with its answer."""
        kind, body = header_of(self.scope, b"content-type"), bytes(self.asked)
        if media_type(kind) == "application/json":
            request = json.loads(body)
        else:  # an upload, whose images are read once more
            request = {"arrays": self.traffic.check(kind, body)}
        return READERS[self.traffic.task](request, bytes(self.answered), self.is_hashed)

    @property
    def is_hashed(self) -> bool:
        return self.traffic.settings is None or self.traffic.settings.input == "hash"

    def shown(self, asked: Any) -> Any:
        return hashed(asked) if self.is_hashed and asked is not None else asked


def pairs_of_classification(request: Any, answered: bytes, is_hashed: bool) -> list[tuple[Any, Any]]:
    """The texts or arrays, each with its label and scores."""
    del is_hashed  # a label tells little of the text
    (asked,) = request.values()
    return list(zip(asked, json.loads(answered), strict=True))


def pairs_of_text_generation(request: Any, answered: bytes, is_hashed: bool) -> list[tuple[Any, Any]]:
    """The prompt with the text, whole again where it was streamed, and what was said of it at its end."""
    if answered.startswith(b"data: "):
        events = [json.loads(event.removeprefix(b"data: ")) for event in answered.split(b"\n\n") if event]
        answer = {**events[-1], "text": "".join(event.get("text", "") for event in events)}
    else:
        answer = json.loads(answered)
    if is_hashed:
        answer["text"] = hashed(answer["text"])
    return [(request["prompt"], answer)]


def pairs_of_image_generation(request: Any, answered: bytes, is_hashed: bool) -> list[tuple[Any, Any]]:
    """The request, which says all: the same seed gives the same images."""
    del is_hashed
    return [(request, {"sha256": hashlib.sha256(answered).hexdigest(), "size_bytes": len(answered)})]


READERS: dict[str, Callable[[Any, bytes, bool], list[tuple[Any, Any]]]] = {
    "text_classification": pairs_of_classification,
    "array_classification": pairs_of_classification,
    "text_generation": pairs_of_text_generation,
    "image_generation": pairs_of_image_generation,
}


def hashed(asked: Any) -> str:
    """Of a text its UTF-8, of anything else its JSON without spaces."""
    text = asked if isinstance(asked, str) else json.dumps(asked, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def as_line(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, separators=(",", ":")).encode() + b"\n"


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def labels_of(folder: Path) -> tuple[str, ...]:
    """What the model may answer; nothing where it is no classifier."""
    return tuple(json.loads((folder / "predictor.json").read_text(encoding="utf-8")).get("labels", ()))


def read_feedback(body: bytes, labels: tuple[str, ...]) -> dict[str, Any] | Refused:
    """The feedback with every key, or what is wrong with it."""
    form = '{"request_id": "an id", "label": "a label"}'
    try:
        given = json.loads(body)
    except (ValueError, RecursionError) as error:
        return Refused(400, f"the feedback is not JSON ({error}); send {form}")
    required, optional = {"request_id", "label"}, {"item", "note"}
    if not isinstance(given, dict) or not required <= set(given) <= required | optional:
        return Refused(400, f"the feedback must be {form}, and may have item and note")
    if not labels:
        return Refused(400, "this model gives no labels, so that none can be right")
    if not isinstance(given["request_id"], str) or not TOKEN.fullmatch(given["request_id"]):
        return Refused(400, "request_id must be the X-Request-Id of an answer: 1 to 64 letters, digits, '.', '_', '-'")
    if given["label"] not in labels:
        return Refused(400, f"label is {json.dumps(given['label'])[:40]}; it must be one of {list(labels)[:20]}")
    item, note = given.get("item"), given.get("note")
    if item is not None and (type(item) is not int or item < 0):
        return Refused(400, f"item is {json.dumps(item)[:40]}; it must be a whole number from 0")
    if note is not None and (not isinstance(note, str) or len(note) > MAX_NOTE_LENGTH or not is_text(note)):
        return Refused(400, f"note must be a text of at most {MAX_NOTE_LENGTH} characters")
    return {"request_id": given["request_id"], "item": item, "label": given["label"], "note": note}


def is_text(note: str) -> bool:
    """Whether it holds no half of a surrogate pair, which no reader of the log could read."""
    return not any("\ud800" <= character <= "\udfff" for character in note)


def fault_of_id(folder: Path, given: dict[str, Any]) -> Refused | None:
    """What is wrong with the id and the item, by the log; an item that is left out is the only one."""
    found = last_line_with(folder, TRAFFIC, b'{"request_id":"%s",' % given["request_id"].encode())
    if found is None:
        return Refused(404, f"no request {given['request_id']} in the log; it may be too long ago")
    record = json.loads(found)
    if record["status"] != 200:
        return Refused(400, f"request {given['request_id']} got no answer (status {record['status']})")
    if given["item"] is None and record["items"] > 1:
        return Refused(400, f"the request had {record['items']} inputs; say which by item, from 0")
    given["item"] = given["item"] or 0
    if given["item"] >= record["items"]:
        return Refused(400, f"item is {given['item']}, but the request had {record['items']}; the first is 0")
    return None
