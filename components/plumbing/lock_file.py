"""Reads dvc.lock whole.

DVC rewrites the file in place, while it holds its own lock: who reads beside it may see half of a file, which is often
valid YAML with fewer stages. So it is read while no DVC command may write.
"""

import fcntl
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from ruamel.yaml import YAML

WAIT_S = 20
PAUSE_S = 0.02


def locked_stages(root: Path) -> Mapping[str, Any]:
    """Return the entries of dvc.lock by the addresses of the stages; none where there is no file.

    Raises OSError where it cannot be read, YAMLError where it is no YAML, ValueError where it holds no stages.
    """
    lock = root / "dvc.lock"
    if not lock.is_file():
        return {}
    with nobody_writes(root):
        seen = lock.stat()
        return read_stages(lock, seen.st_mtime_ns, seen.st_size)


@contextmanager
def nobody_writes(root: Path) -> Generator[None]:
    """Share DVC's lock for the block, so that no DVC command begins to write; one that begins meanwhile waits for
    seconds, and the block takes tenths of one.

    A command that holds the lock for longer than WAIT_S (a push, a pull) writes no dvc.lock, and is not waited for.
    """
    held = root / ".dvc" / "tmp" / "lock"
    if not held.is_file():
        yield
        return
    give_up_at = time.monotonic() + WAIT_S
    with held.open("rb") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > give_up_at:
                    break
                time.sleep(PAUSE_S)
        yield


@lru_cache(maxsize=1)
def read_stages(lock: Path, _modified_ns: int, _size: int) -> Mapping[str, Any]:
    """Read the file, which takes a tenth of a second, once for each state of it."""
    loaded = YAML(typ="safe").load(lock)
    stages = cast("object", loaded.get("stages", {})) if isinstance(loaded, dict) else None
    if not isinstance(stages, dict):
        raise ValueError(f"{lock} holds no stages")
    return cast("dict[str, Any]", stages)
