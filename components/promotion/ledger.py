"""The ledger: who or what made which version the champion, or had it served in another build, when, on which figures,
and why.

`.modelyard/ledger.jsonl`, one JSON object a line, is only ever appended to. A line holds the sha256 of the line before
it, and `ledger.head.json` beside it that of the last one, so that a line that was changed, taken out or put in shows.
Who may write the folder can still write both anew: keep the head elsewhere (`modelyard ledger` prints it) where that
matters.
"""

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from components.plumbing.artifacts import disk_errors, read_json, sync, write_json
from components.plumbing.errors import ArtifactError
from components.plumbing.locks import hold

logger = logging.getLogger(__name__)

LEDGER = ".modelyard/ledger.jsonl"
HEAD = ".modelyard/ledger.head.json"
START = "0" * 64
"""The sha256 that stands for the line before the first."""

Entry = dict[str, Any]
Action = Literal["promote", "force", "rollback", "refuse", "adopt", "build"]
"""The kind of a decision. adopt: the alias was set elsewhere, by the first registration or by hand in
MLflow, and is noted here. build: the champion is served in another build of its service."""
CHANGES = ("promote", "force", "rollback", "adopt")
"""The actions after which another version is the champion."""
SERVED = (*CHANGES, "build")
"""The actions after which something else is served: another version, or the same in another build."""


@dataclass(frozen=True)
class Fault:
    """A line of the ledger that is not as it was written, and what is wrong with it."""

    line: int
    what: str


def append(root: Path, entry: Mapping[str, Any]) -> Entry:
    """Add one line and have the disk keep it; return it as it was written. DiskFullError where there is no room.

    A line is chained to what the head says was last, not to what the file holds now: what was changed in between keeps
    showing.
    """
    path = root / LEDGER
    path.parent.mkdir(parents=True, exist_ok=True)
    with hold(root, "ledger.jsonl", doing="writing to the ledger", wait=True), disk_errors(path):
        number, previous = last_of(root)
        written: Entry = {"line": number + 1, "previous": previous, "at": now(), **entry}
        line = json.dumps(written, ensure_ascii=False, allow_nan=False).encode()
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            size = drop_torn_end(descriptor)
            try:
                if os.write(descriptor, line + b"\n") < len(line) + 1:
                    raise OSError(28, "No space left on device")  # ENOSPC: a part went in
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, size)
                raise
        finally:
            os.close(descriptor)
        sync(path.parent)
        write_json(root / HEAD, {"line": number + 1, "sha256": sha256(line)})
    return written


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def sha256(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


def drop_torn_end(descriptor: int) -> int:
    """Cut off what a power cut left of a line that was never whole; return the file's size in bytes."""
    size = os.fstat(descriptor).st_size
    held = os.pread(descriptor, size, 0)
    whole = held.rfind(b"\n") + 1
    if whole < size:
        logger.warning("the ledger ended in the middle of a line, which was never whole; it is taken off")
        os.ftruncate(descriptor, whole)
    return whole


def last_of(root: Path) -> tuple[int, str]:
    """Return the number and the sha256 of the line that was written last."""
    lines = read_lines(root)
    head = read_head(root)
    if head is None:
        return (len(lines), sha256(lines[-1])) if lines else (0, START)
    number, recorded = head
    after = lines[number:]  # a kill came between a line and the head
    if len(after) == 1 and parsed(after[0]).get("previous") == recorded:
        return number + 1, sha256(after[0])
    return number, recorded


def read_head(root: Path) -> tuple[int, str] | None:
    """Return the number of the last line and its sha256, as the head has them; None without a head."""
    path = root / HEAD
    if not path.is_file():
        return None
    head = read_json(path)
    return int(head["line"]), str(head["sha256"])


def read_lines(root: Path) -> list[bytes]:
    """Return the whole lines of the ledger, without their line ends."""
    path = root / LEDGER
    if not path.is_file():
        return []
    return path.read_bytes().split(b"\n")[:-1]


def parsed(line: bytes) -> Entry:
    """Return the object of a line; empty where it holds none."""
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def entries(root: Path, recipe: str | None = None) -> list[Entry]:
    """Return the entries of the ledger, of one recipe or of all, the oldest first."""
    found = [entry for line in read_lines(root) if (entry := parsed(line))]
    return [entry for entry in found if recipe is None or entry.get("recipe") == recipe]


def verify(root: Path) -> list[Fault]:
    """Return every line that was changed, taken out or put in; none where the chain holds to its end."""
    lines, head = read_lines(root), read_head(root)
    faults: list[Fault] = []
    expected, previous = 1, START
    for place, line in enumerate(lines, start=1):
        entry = parsed(line)
        number = entry.get("line")
        if not isinstance(number, int):
            faults.append(Fault(expected, f"line {expected} was changed: it is no entry any more"))
            number = expected
        elif number > expected:
            gone = f"line {expected} is" if number == expected + 1 else f"lines {expected} to {number - 1} are"
            faults.append(Fault(expected, f"{gone} missing"))
        elif number < expected:
            faults.append(Fault(place, f"line {number} comes again or in another place, as line {place} of the file"))
            continue
        elif entry.get("previous") != previous and place > 1:
            faults.append(Fault(number - 1, f"line {number - 1} was changed: line {number} was written after another"))
        elif entry.get("previous") != previous:
            faults.append(Fault(1, "line 1 was changed: it does not begin the chain"))
        expected, previous = number + 1, sha256(line)
    return faults + faults_of_end(head, last=expected - 1, previous=previous, lines=lines)


def damage(faults: list[Fault]) -> ArtifactError | None:
    """Return the error to raise for a ledger that is not as it was written; None without faults."""
    if not faults:
        return None
    said = "; ".join(fault.what for fault in faults[:5])
    return ArtifactError(
        f"{LEDGER} is not as it was written: {said}. Bring it and {HEAD} back from a copy; what was changed stays "
        "visible in every line that comes after. Without a copy, move both away: the next promotion begins a new ledger"
    )


def faults_of_end(head: tuple[int, str] | None, *, last: int, previous: str, lines: list[bytes]) -> list[Fault]:
    """Return the faults that the head shows of the last line, which has no line after it."""
    if head is None:
        return [Fault(last, f"{HEAD} is missing: nothing tells whether line {last} is as it was")] if lines else []
    number, recorded = head
    if last < number:
        gone = f"line {number} is" if number == last + 1 else f"lines {last + 1} to {number} are"
        return [Fault(last + 1, f"{gone} missing")]
    if last == number and previous != recorded:
        return [Fault(last, f"line {last} was changed: its sha256 is not the one that {HEAD} has")]
    if last > number + 1:
        return [Fault(number + 1, f"lines {number + 1} to {last} were put in: {HEAD} ends with line {number}")]
    return []
