"""The notes that runs leave of themselves, here and in the tools' own files, and which of them a killed one left."""

import json
import os
import sqlite3
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx

from components.plumbing.artifacts import read_json
from components.plumbing.errors import ArtifactError
from components.plumbing.processes import began_before, is_alive

FOLDER = ".modelyard/run/flows"
"""The folder with a note of each flow run's process."""
OPEN = ("RUNNING", "PENDING", "CANCELLING")
RWLOCK = ".dvc/tmp/rwlock"
PREFECT_DATABASE = ".modelyard/prefect/prefect.db"


def is_at_work(root: Path, flow_run_id: str) -> bool:
    """Return whether the process of a flow run is still there."""
    try:
        note = read_json(root / FOLDER / f"{flow_run_id}.json")
    except ArtifactError:  # it ended long ago, or ran elsewhere
        return False
    return is_alive(note["process"])


def dead_holders(rwlock: Path) -> set[int]:
    """Return the numbers of processes that hold paths in DVC's read-write lock, and are gone.

    DVC writes down their numbers alone; a process that began after the file was written is another with the same one.
    """
    noted = read_rwlock(rwlock)
    holders = [
        *noted.get("write", {}).values(),
        *(note for several in noted.get("read", {}).values() for note in several),
    ]
    return {note["pid"] for note in holders if not began_before(note["pid"], rwlock.stat().st_mtime)}


def read_rwlock(path: Path) -> Mapping[str, Any]:
    with suppress(OSError, ValueError):
        return json.loads(path.read_text(encoding="utf-8"))
    return {}


def stale_flow_runs(root: Path) -> list[str]:
    """Return the ids of the flow runs that Prefect takes for open though their process is gone."""
    gone = [note.stem for note in (root / FOLDER).glob("*.json") if not is_at_work(root, note.stem)]
    if not gone:
        return []
    if url := os.environ.get("PREFECT_API_URL"):
        states = {"id": {"any_": gone}, "state": {"type": {"any_": list(OPEN)}}}
        asked = httpx.post(f"{url}/flow_runs/filter", json={"flow_runs": states}, timeout=5)
        return [run["id"] for run in asked.json()] if asked.is_success else []
    database = root / PREFECT_DATABASE
    if not database.is_file():
        return []
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as store:
        marks = ", ".join("?" * len(OPEN))
        found = store.execute(f"SELECT id FROM flow_run WHERE state_type IN ({marks})", OPEN)
        open_now = {str(UUID(str(number))) for (number,) in found}
    return [number for number in gone if number in open_now]
