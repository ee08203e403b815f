"""The leftovers of a run that was killed, which the next one clears: notes of locks, DVC's and ours, checkpoints of
finished trainings, and the runs that Prefect takes for running."""

import logging
from pathlib import Path

from dvc.lock import make_lock

from components.plumbing.artifacts import write_json
from components.plumbing.finished import drop_all_finished
from components.plumbing.locks import clear_stale
from flows.pipeline.notes import RWLOCK, dead_holders, read_rwlock
from flows.pipeline.running import mark_killed
from flows.pipeline.waiting import WaitingLock

logger = logging.getLogger(__name__)


def clear_leftovers(root: Path) -> None:
    """Clear what killed runs left. Prefect's server must be up."""
    clear_stale(root)
    clear_rwlock(root)
    drop_all_finished(root)
    try:
        mark_killed(root, [])
    except Exception as error:  # the run itself tells of a server that does not answer
        logger.debug("Prefect's runs are not closed: %s", error)


def clear_rwlock(root: Path) -> None:
    """Take the notes of processes that are gone out of DVC's read-write lock.

    DVC itself drops one only where it needs the same path, and never one whose number another process has now.
    """
    path = root / RWLOCK
    if not dead_holders(path):
        return
    guard = make_lock(str(path.with_name("rwlock.lock")), tmp_dir=str(path.parent))
    with WaitingLock(str(path.with_name("lock"))), guard:
        dead, noted = dead_holders(path), read_rwlock(path)
        kept = {
            "write": {where: one for where, one in noted.get("write", {}).items() if one["pid"] not in dead},
            "read": {
                where: left for where, several in noted.get("read", {}).items()
                if (left := [one for one in several if one["pid"] not in dead])
            },
        }  # fmt: skip
        write_json(path, kept)
