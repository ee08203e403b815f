"""The lock that one DVC command at a time holds on a project, waited for as long as it takes: a `dvc push` of gigabytes
holds it for an hour, and what a stage has trained meanwhile must not be lost for it."""

import logging
import time
from pathlib import Path
from typing import Any

import psutil
from dvc.lock import Lock, LockError

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5


class WaitingLock(Lock):
    """DVC's lock of a project, whose holder is waited for and named."""

    def lock(self) -> None:
        """Take the lock, once nobody else has it."""
        is_told = False
        while True:
            try:
                self._do_lock()
                return
            except LockError:
                if not is_told:
                    logger.warning("DVC is in use: %s; waiting for it to end", holder_of(Path(self.lockfile)))
                    is_told = True
                time.sleep(LOOK_EVERY_S)


def wait_for_lock(repo: Any) -> None:
    """Have a project's view of DVC wait for its lock, where that is the kernel's (core.hardlink_lock is not)."""
    if type(repo.lock) is Lock:
        repo.lock = WaitingLock(repo.lock.lockfile)


def holder_of(lockfile: Path) -> str:
    """Return the command that holds the lock, as DVC's file names its process, in words."""
    try:
        process = psutil.Process(int(lockfile.read_text(encoding="utf-8")))
        words = [Path(word).name for word in process.cmdline()]
        began = words.index("dvc") if "dvc" in words else 0
        command, age_s = " ".join(" ".join(words[began:]).split())[:80], time.time() - process.create_time()
        return f"{command} (process {process.pid}, for {age_s:.0f} s)"
    except (OSError, ValueError, psutil.Error):
        return "another process"
