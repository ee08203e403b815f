"""Processes in the background: started with a log and a record, found again, and ended; never anybody else's.

A process is known by its number and the time of its start, since numbers are used again. What it started in turn is
known by a mark in its environment, so that it is found even where the process itself was killed.
"""

import os
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from components.plumbing.artifacts import read_json, write_json
from components.plumbing.errors import ArtifactError
from components.plumbing.processes import end, family, find, is_running, running, start_to_stay
from flows.servers.server import Server

MARK = "MODELYARD_UP"
"""The environment variable that says, in whatever `up` starts, which start it belongs to."""
OLD = ".1"
"""The ending of the name of the log of the start before."""


@dataclass(frozen=True)
class Record:
    """The record of a process that was started in the background, kept in `.modelyard/run/<name>.json`."""

    name: str
    pid: int
    created: float
    """When the process began, in seconds since 1970."""
    mark: str
    address: str
    port: int | None
    log: str
    stop_s: int
    folder: str = ""
    """The folder that the project was in; empty where an earlier release wrote none."""

    def began_in(self, root: Path) -> bool:
        """Return whether the project was in this folder when the process was started, which works there."""
        return not self.folder or Path(self.folder) == root.resolve()


def records(root: Path) -> dict[str, Record]:
    """Return the records, by name, of what was started and not stopped, running or not; left out is a file that is no
    record, and the record of another project, of which this one is a copy."""
    return {name: one for name, one in noted(root).items() if isinstance(one, Record)}


def unreadable(root: Path) -> dict[str, Path]:
    """Return the files that should be records and cannot be read, by the name of the process that each is of."""
    return {name: one for name, one in noted(root).items() if isinstance(one, Path)}


def noted(root: Path) -> dict[str, Record | Path]:
    found: dict[str, Record | Path] = {}
    for path in sorted((root / ".modelyard" / "run").glob("*.json")):
        try:
            record = Record(**read_json(path))
        except (TypeError, ArtifactError):
            found[path.stem] = path
        else:
            if not is_of_another(root, record):
                found[path.stem] = record
    return found


def is_of_another(root: Path, record: Record) -> bool:
    """Return whether a record came here with a copy of its project's folder, which has it still."""
    if record.began_in(root):
        return False
    with suppress(ArtifactError, KeyError, TypeError):
        return read_json(record_file(Path(record.folder), record.name))["mark"] == record.mark
    return False


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
    process = start_to_stay(
        server.command, folder=root, log=server.log,
        environment={**os.environ, **server.environment, **(environment or {}), MARK: mark},
    )  # fmt: skip
    record = Record(
        name, process.pid, process.create_time(), mark, address, port, str(server.log), stop_s, str(root.resolve())
    )
    path = record_file(root, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, asdict(record))
    return record


def process_of(record: Record) -> psutil.Process | None:
    """Return the process of a record, where it still runs; else None."""
    return find(f"{record.pid}:{record.created}")


def members(record: Record) -> list[psutil.Process]:
    """Return the running processes of a record: its own, what it started, and what that started,
    even where a parent is gone."""
    leader = process_of(record)
    found = [] if leader is None else family(leader)
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(MARK) == record.mark:
                found.append(process)
    return running(found)


def leader_of(root: Path, name: str) -> psutil.Process | None:
    """Return the process that was started under a name and still runs, found without its record; None without one."""
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            began_here = (
                process.environ().get(MARK, "").startswith(f"{name} ") and Path(process.cwd()) == root.resolve()
            )
            if began_here and is_running(process) and os.getpgid(process.pid) == process.pid:
                return process
    return None


def unrecorded(root: Path) -> list[psutil.Process]:
    """Return the processes whose record cannot be read, and what they started."""
    leaders = [leader for name in unreadable(root) if (leader := leader_of(root, name)) is not None]
    return [member for leader in leaders for member in family(leader)]


def stop(root: Path, record: Record) -> bool:
    """End a record's process and all that it started, and forget it; return whether none had to be killed."""
    leader = process_of(record)
    when_asked = end([] if leader is None else [leader], timeout_s=record.stop_s, kin=lambda: members(record))
    record_file(root, record.name).unlink(missing_ok=True)
    return when_asked
