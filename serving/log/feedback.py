"""POST /feedback: the label that was right for an earlier request, kept as one more line beside the traffic log."""

import asyncio
import json
from pathlib import Path
from typing import Any

from starlette.responses import JSONResponse

from serving.endpoint import Refused, media_type
from serving.log.segments import TRAFFIC, Segments, as_line, last_line_with, now
from serving.requests.bodies import Bodies, Message, Receive
from serving.requests.reading import TOKEN, header_of, refusal

MAX_BYTES = 8192
MAX_NOTE_LENGTH = 1000


async def take_feedback(
    scope: Message, receive: Receive, kept: Segments | None, labels: tuple[str, ...], *, bodies: Bodies
) -> JSONResponse:  # fmt: skip
    """Keep the label that was right for a request, joined to its line in the traffic log by request_id and item.

    `kept` is None where the service keeps no log; `labels` are those that the model may answer. The response has the
    stored feedback, or an error and the status 400, 404, 408, 413, 415 or 503.
    """
    body = await bodies.read(receive, MAX_BYTES)
    if isinstance(body, Refused):
        return refusal(body)
    if media_type(header_of(scope, b"content-type")) != "application/json":
        return refusal(Refused(415, "send feedback as 'application/json'"))
    if kept is None:
        return refusal(Refused(404, "this service keeps no log, so that feedback joins nothing; set MODELYARD_TRAFFIC"))
    given = read_feedback(body, labels)
    if isinstance(given, Refused):
        return refusal(given)
    fault = await asyncio.to_thread(fault_of_id, kept.folder, given)
    if fault is not None:
        return refusal(fault)
    if not kept.append(as_line({**given, "time": now()})):
        response = refusal(Refused(503, f"the feedback could not be kept: {kept.state.error}"))
        response.headers["Retry-After"] = "60"
        return response
    return JSONResponse(given)


def labels_of(folder: Path) -> tuple[str, ...]:
    """Return the labels that the model may answer; empty where it is no classifier."""
    return tuple(json.loads((folder / "predictor.json").read_text(encoding="utf-8")).get("labels", ()))


def read_feedback(body: bytes, labels: tuple[str, ...]) -> dict[str, Any] | Refused:
    """Return the feedback with every key, where `item` and `note` may be None; Refused with status 400 where it is
    invalid."""
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
    """Return whether a note holds no half of a surrogate pair, which no reader of the log could read."""
    return not any("\ud800" <= character <= "\udfff" for character in note)


def fault_of_id(folder: Path, given: dict[str, Any]) -> Refused | None:
    """Return a Refused where the log has no answered request with the id, or the item is not in it; else None.

    An item that is left out is set to 0 in `given`, and is refused where the request had more than one input.
    """
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
