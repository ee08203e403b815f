"""Processes in the background: started with a log and a record, found again, and ended; never anybody else's.

A process is known by its number and the time of its start, since numbers are used again. What it started in turn is
known by a mark in its environment, so that it is found even where the process itself was killed.
"""

import os
import subprocess
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from components.artifacts import read_json, write_json
from components.errors import ArtifactError
from flows.servers import Server

MARK = "MODELYARD_UP"
"""In the environment of whatever `up` starts: which start it belongs to."""
SAME_START_S = 1.0
"""The system tells a start time to a hundredth; a clock that is set moves it."""
LEFTOVERS_S = 5
OLD = ".1"
"""Ends the name of the log of the start before."""


@dataclass(frozen=True)
class Record:
    """`.modelyard/run/<name>.json`."""

    name: str
    pid: int
    created: float
    """When the process began, in seconds since 1970."""
    mark: str
    address: str
    port: int | None
    log: str
    stop_s: int


def records(root: Path) -> dict[str, Record]:
    """What was started and not stopped, running or not; a file that is no record is left out."""
    return {name: one for name, one in noted(root).items() if isinstance(one, Record)}


def unreadable(root: Path) -> dict[str, Path]:
    """The files that should be records and are none, by the name of what they would be of."""
    return {name: one for name, one in noted(root).items() if isinstance(one, Path)}


def noted(root: Path) -> dict[str, Record | Path]:
    found: dict[str, Record | Path] = {}
    for path in sorted((root / ".modelyard" / "run").glob("*.json")):
        try:
            found[path.stem] = Record(**read_json(path))
        except (TypeError, ArtifactError):
            found[path.stem] = path
    return found


def record_file(root: Path, name: str) -> Path:
    return root / ".modelyard" / "run" / f"{name}.json"


def start(
    root: Path, name: str, server: Server, *, address: str, port: int | None, stop_s: int,
    environment: Mapping[str, str] | None = None,
) -> Record:  # fmt: skip
    """Start a server that outlives this process; the log of the start before is kept beside its own."""
    server.log.parent.mkdir(parents=True, exist_ok=True)
    if server.log.exists():
        os.replace(server.log, server.log.with_name(server.log.name + OLD))
    mark = f"{name} {uuid.uuid4().hex}"
    with server.log.open("wb") as log:
        process = subprocess.Popen(
            server.command, cwd=root, env={**os.environ, **server.environment, **(environment or {}), MARK: mark},
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    created = psutil.Process(process.pid).create_time()
    process.returncode = 0  # it is not waited for here, and Popen would warn
    record = Record(name, process.pid, created, mark, address, port, str(server.log), stop_s)
    path = record_file(root, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, asdict(record))
    return record


def process_of(record: Record) -> psutil.Process | None:
    """The process of a record, where it still runs."""
    with suppress(psutil.Error):
        process = psutil.Process(record.pid)
        is_same = abs(process.create_time() - record.created) < SAME_START_S
        if is_same and process.status() != psutil.STATUS_ZOMBIE:
            return process
    return None


def members(record: Record) -> list[psutil.Process]:
    """The process, what it started, and what that started, also where a parent is gone."""
    found: dict[int, psutil.Process] = {}
    leader = process_of(record)
    if leader is not None:
        with suppress(psutil.Error):
            found |= {process.pid: process for process in (leader, *leader.children(recursive=True))}
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.pid not in found and process.pid != os.getpid() and process.environ().get(MARK) == record.mark:
                found[process.pid] = process
    return [process for process in found.values() if is_running(process)]


def leader_of(root: Path, name: str) -> int | None:
    """The number of the process that was started under a name and still runs, where its record is of no use."""
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            began_here = (
                process.environ().get(MARK, "").startswith(f"{name} ") and Path(process.cwd()) == root.resolve()
            )
            if began_here and is_running(process) and os.getpgid(process.pid) == process.pid:
                return process.pid
    return None


def unrecorded(root: Path) -> set[int]:
    """The numbers of the processes of which the record is of no use, and of what they started."""
    found: set[int] = set()
    for leader in (leader_of(root, name) for name in unreadable(root)):
        if leader is not None:
            with suppress(psutil.Error):
                found |= {leader, *(child.pid for child in psutil.Process(leader).children(recursive=True))}
    return found


def is_running(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def end(root: Path, record: Record) -> bool:
    """End a record's process and all that it started: asked first, killed when it does not. Gives whether none was.

    psutil sends no signal to a number that another process has got meanwhile.
    """
    leader = process_of(record)
    if leader is not None:
        with suppress(psutil.Error):
            leader.terminate()
        wait_until_gone([leader], record.stop_s)
    left = [process for process in members(record) if leader is None or process.pid != leader.pid]
    for process in left:
        with suppress(psutil.Error):
            process.terminate()
    wait_until_gone(left, LEFTOVERS_S)
    stubborn = members(record)
    for process in stubborn:
        with suppress(psutil.Error):
            process.kill()
    wait_until_gone(stubborn, LEFTOVERS_S)
    record_file(root, record.name).unlink(missing_ok=True)
    return not stubborn


def wait_until_gone(processes: list[psutil.Process], timeout_s: float) -> None:
    """Return once none of them runs, or after `timeout_s`. What is ours to wait for is waited for."""
    give_up_at = time.monotonic() + timeout_s
    while any(map(is_running, processes)) and time.monotonic() < give_up_at:
        time.sleep(0.05)


def last_line(log: Path) -> str:
    """The last line of a log that says something."""
    with suppress(OSError):
        lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
        return next((line for line in reversed(lines) if line), "")
    return ""
