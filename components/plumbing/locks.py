"""Locks by which one run of a recipe at a time works on it. They are the kernel's, so a killed
process leaves none behind."""

import json
import logging
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from components.plumbing.errors import BusyError
from components.plumbing.processes import identity, is_alive

logger = logging.getLogger(__name__)


ENDING_WAIT_S = 60
"""Seconds that a process has to end after what it worked for is gone."""


@contextmanager
def hold(
    root: Path, name: str, *, doing: str, wait: bool, works_for: Sequence[str] = (), is_brief: bool = False
) -> Generator[None]:  # fmt: skip
    """Hold the project's lock `name` for the block; where another process has it, log that and
    wait, or raise BusyError.

    `doing` says to other processes what this one does, and `works_for` for which processes: where one of these is gone,
    this one is about to end, and is waited for in any case. So is one that holds it for a moment alone (`is_brief`).
    """
    folder = root / ".modelyard" / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    lock, holder = FileLock(folder / f"{name}.lock"), folder / f"{name}.json"
    try:
        lock.acquire(timeout=0)
    except Timeout:
        present = present_holder(holder)
        busy = f"{name} is in use: {present}"
        is_ending = present.is_brief or not all(map(is_alive, present.works_for))
        if not wait and not is_ending:
            raise BusyError(f"{busy}; wait for it, or stop it") from None
        if not present.is_brief:
            logger.warning("%s; waiting for it to end", busy)
        try:
            lock.acquire(timeout=-1 if wait else ENDING_WAIT_S)
        except Timeout:
            raise BusyError(f"{busy}; it does not end: stop it") from None
    try:
        noted = {"process": identity(), "doing": doing, "since": time.time(), "works_for": list(works_for)}
        noted["is_brief"] = is_brief
        holder.write_text(json.dumps(noted), encoding="utf-8")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


@dataclass(frozen=True)
class Holder:
    """The process that holds a lock; nothing is known of one that has left no note yet."""

    process: str = ""
    """The identity of the process (components/plumbing/processes.py); empty where it is not known."""
    doing: str = "another process"
    since: float = 0.0
    works_for: Sequence[str] = ()
    """The identities of the processes without which it ends."""
    is_brief: bool = False
    """Whether it holds the lock for a moment alone."""

    @property
    def pid(self) -> int:
        """The number of the process, for people; 0 where it is not known."""
        return int(self.process.partition(":")[0] or 0)

    def __str__(self) -> str:
        return f"{self.doing} (process {self.pid}, for {time.time() - self.since:.0f} s)" if self.pid else self.doing


def read_holder(file: Path) -> Holder:
    with suppress(OSError, ValueError, TypeError):
        return Holder(**json.loads(file.read_text(encoding="utf-8")))
    return Holder()


def present_holder(file: Path) -> Holder:
    """Return the present holder of a lock; unknown where the note is of a process that was killed."""
    holder = read_holder(file)
    return holder if is_alive(holder.process) else Holder()


def clear_stale(root: Path) -> None:
    """Remove the notes of processes that were killed while they held a lock."""
    for file in (root / ".modelyard" / "locks").glob("*.json"):
        lock = FileLock(file.with_suffix(".lock"))
        with suppress(Timeout), lock.acquire(timeout=0):
            file.unlink(missing_ok=True)


def held(root: Path) -> dict[str, Holder]:
    """Return the project's locks that a process holds now, by name."""
    found: dict[str, Holder] = {}
    for file in sorted((root / ".modelyard" / "locks").glob("*.json")):
        lock = FileLock(file.with_suffix(".lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            found[file.stem] = present_holder(file)
        else:
            lock.release()
    return found
