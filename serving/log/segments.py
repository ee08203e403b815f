"""Append-only files of JSON lines in one folder, whose records survive a kill of the process that wrote them.

A record is one write(2) on a file descriptor that appends, with no buffer in this process, so that it is the kernel's
once `append` returns (a power cut may still take the last seconds: nothing is flushed to the disk). Each process writes
files of its own, `<kind>-<UTC time>-<pid>.jsonl`, so that two servers of one recipe never share a file, and the names
sort by time. A file ends at a size or an age, and the oldest files of a kind are deleted beyond a number.

A disk that is full, or a folder that cannot be written, must not stop the service: `append` never raises OSError, and
`state` says what happened.
"""

import errno
import json
import logging
import mmap
import os
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

TRAFFIC, FEEDBACK = "traffic", "feedback"
"""The kinds of files that a service writes."""
RETRY_S = 1.0  # between two tries to open a file
SUFFIX = ".jsonl"


@dataclass(frozen=True)
class Rotation:
    """The rule for when a file ends, and for how many files stay."""

    max_bytes: int
    max_age_s: float
    max_files: int
    """The most files of one kind that stay, including the one being written."""


@dataclass
class State:
    """The counts of records written and lost so far."""

    written: int = 0
    lost: int = 0
    error: str | None = None
    """The reason why the last record was lost; None where it was written."""


class Segments:
    """The files of one kind in a folder, written by one process."""

    def __init__(self, folder: Path, *, kind: str, rotation: Rotation) -> None:
        self.folder, self.kind, self.rotation = folder, kind, rotation
        self.state = State()
        self.lock = threading.Lock()
        self.file: int | None = None
        self.size, self.started, self.tried = 0, 0.0, -RETRY_S

    def append(self, record: bytes) -> bool:
        """Write whole lines, all or none; return whether they are written."""
        with self.lock:
            try:
                self.write(self.current(len(record)), record)
            except OSError as error:
                self.lose(said(error, self.folder))
                return False
            self.state.written += 1
            self.state.error = None
            return True

    def lose(self, error: str) -> None:
        """Count a record that could not be written, and log the reason once."""
        self.state.lost += 1
        if self.state.error != error:
            logger.warning("the %s log: %s", self.kind, error)
        self.state.error = error

    def current(self, more: int) -> int:
        """Return the descriptor of the file for `more` bytes: a new file where the last is full, old, or deleted.

        Raise OSError where none can be opened; within RETRY_S of a failed try, no other try is made.
        """
        if self.file is not None:
            is_full = self.size > 0 and self.size + more > self.rotation.max_bytes
            is_old = time.monotonic() - self.started > self.rotation.max_age_s
            if not (is_full or is_old or os.fstat(self.file).st_nlink == 0):
                return self.file
            self.close()
        return self.open()

    def open(self) -> int:
        now = time.monotonic()
        if self.state.error is not None and now - self.tried < RETRY_S:
            raise OSError(errno.EAGAIN, self.state.error)
        self.tried = now
        self.folder.mkdir(parents=True, exist_ok=True)
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        path = self.folder / f"{self.kind}-{stamp}-{os.getpid()}{SUFFIX}"
        self.file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self.size, self.started = 0, now
        self.drop_oldest()
        return self.file

    def write(self, file: int, record: bytes) -> None:
        """Append a record in one write; where a full disk cuts it short, take back the half line and raise OSError."""
        done = os.write(file, record)
        if done < len(record):
            os.ftruncate(file, self.size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.size += done

    def drop_oldest(self) -> None:
        for path in paths_of(self.folder, self.kind)[: -self.rotation.max_files]:
            path.unlink(missing_ok=True)

    def close(self) -> None:
        if self.file is not None:
            os.close(self.file)
            self.file = None


def paths_of(folder: Path, kind: str) -> list[Path]:
    """Return the paths of the files of one kind in a folder, the oldest first."""
    return sorted(folder.glob(f"{kind}-*{SUFFIX}"))


def last_line_with(folder: Path, kind: str, start: bytes) -> bytes | None:
    """Return the newest whole line that starts with the given bytes, without its line feed; None without one.

    The bytes must hold a quote, so that no text within a line can look like them.
    """
    for path in reversed(paths_of(folder, kind)):
        with suppress(FileNotFoundError, ValueError), path.open("rb") as file:  # dropped meanwhile, or empty
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
                place = view.rfind(start)
                end = view.find(b"\n", place)
                if place >= 0 and end >= 0:
                    return view[place:end]
    return None


def said(error: OSError, folder: Path) -> str:
    """Return one line that explains an OSError of a folder."""
    if error.errno == errno.EAGAIN:
        return str(error.strerror)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"no space left on the disk of {folder}; free some, and the log goes on by itself"
    return f"{folder} cannot be written: {error.strerror}"


def as_line(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, separators=(",", ":")).encode() + b"\n"


def now() -> str:
    """Return the present time as the lines have it: ISO 8601 in UTC, with microseconds."""
    return shown_time(time.time())


def shown_time(seconds: float) -> str:
    """Return a time in seconds since 1970 as ISO 8601 in UTC, with microseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")
