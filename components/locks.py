"""One run of a recipe at a time. The lock is the kernel's, so a killed process leaves none behind."""

import json
import logging
import os
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from components.errors import BusyError

logger = logging.getLogger(__name__)


@contextmanager
def hold(root: Path, name: str, *, doing: str, wait: bool) -> Generator[None]:
    """Hold the project's lock `name` for the block; where another process has it, say so, and wait or raise BusyError.

    `doing` is what the other process is told that this one does.
    """
    folder = root / ".modelyard" / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    lock, holder = FileLock(folder / f"{name}.lock"), folder / f"{name}.json"
    try:
        lock.acquire(timeout=0)
    except Timeout:
        busy = f"{name} is in use: {_description(holder)}"
        if not wait:
            raise BusyError(f"{busy}; wait for it, or stop it") from None
        logger.warning("%s; waiting for it to end", busy)
        lock.acquire()
    try:
        holder.write_text(json.dumps({"pid": os.getpid(), "doing": doing, "since": time.time()}), encoding="utf-8")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _description(holder: Path) -> str:
    with suppress(OSError, ValueError, KeyError):
        seen = json.loads(holder.read_text(encoding="utf-8"))
        return f"{seen['doing']} (process {seen['pid']}, for {time.time() - seen['since']:.0f} s)"
    return "another process"
