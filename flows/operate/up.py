"""The work of the commands `up`, `status` and `down`."""

import logging
import os
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Literal

import httpx
import psutil

from components.monitoring.causes import last_end
from components.plumbing.artifacts import read_json
from components.plumbing.environment import PREFECT_SERVER
from components.plumbing.errors import ArtifactError, BusyError, ParamsError
from components.plumbing.locks import held, hold
from components.plumbing.processes import find, last_line
from components.promotion.champions import better_one, changes
from components.promotion.published import champion_file
from flows.operate.plan import Part, noted_prefect, plan
from flows.servers.ports import check_free
from flows.servers.records import (
    Record,
    leader_of,
    members,
    process_of,
    records,
    start,
    stop,
    unreadable,
    unrecorded,
)
from flows.servers.tools import make_store, note_server
from serving.bundle import SHORT

logger = logging.getLogger(__name__)

READY_TIMEOUT_S = 120
POLL_S = 0.3
HEALTH_TIMEOUT_S = 3
OFFERED_WITHIN_S = 60
"""Seconds within which a worker is to have given Prefect's server its schedules."""
State = Literal["ok", "starting", "waiting", "degraded", "down", "crashed", "stopped", "refused"]
SETTLED = ("ok", "waiting", "degraded", "crashed")
BAD = ("degraded", "down", "crashed", "starting", "refused")


@dataclass(frozen=True)
class Seen:
    """The present state of a part: a row of the table."""

    name: str
    state: State
    address: str
    version: str
    pid: int | None
    up_s: float | None
    note: str
    """A remark for a person: what is wrong, or under way; empty without any."""
    log: str


def bring_up(root: Path, *, mlflow_port: int | None, prefect_port: int | None) -> list[Seen]:
    """Start the parts that do not run, and wait until they answer. BusyError where a port is taken by another process.

    Two at once come one after the other, and the second finds all running.
    """
    with hold(root, "up", doing="modelyard up", wait=True):
        parts = plan(root, mlflow_port=mlflow_port, prefect_port=prefect_port)
        known, unread = records(root), unreadable(root)
        whole = [part for part in parts if not part.fault and part.name not in unread]
        missing = [part for part in whole if part.server and not is_up(root, known.get(part.name))]
        for part in missing:
            if part.name in known:
                stop(root, known[part.name])  # what a killed one left behind may hold its port
        for part in missing:
            if part.port is not None:
                check_free(part.port, part.option)
        workers = [part for part in missing if part.kind == "worker"]
        begin(root, [part for part in missing if part.kind != "worker"])
        begin(root, workers)  # which look for Prefect's server
        routers = [part for part in whole if part.kind == "router"]
        settle([part.name for part in routers if part in missing or not champion_file(root, part.name).is_file()], root)
        return look(root, mlflow_port=mlflow_port, prefect_port=prefect_port)


def settle(recipes: list[str], root: Path) -> None:
    """Have promotion finish what a killed one left, and name each recipe's champion, to
    which its router then changes."""
    if not recipes:
        return
    from components.promotion.decide import champion_of

    for recipe in recipes:
        try:
            if champion_of(root, recipe) is None and changes(root, recipe):
                logger.warning("%s: the registry lacks its champion; 'modelyard doctor' says what mends it", recipe)
        except Exception as error:  # whatever is wrong with the registry, what is served is served on
            logger.warning("the champion of %s is not known: %s", recipe, " ".join(str(error).split())[:300])


def is_up(root: Path, record: Record | None) -> bool:
    """Return whether a process runs that works in this folder: one that was started before the project was moved works
    where that was."""
    return record is not None and record.began_in(root) and process_of(record) is not None


def begin(root: Path, parts: list[Part]) -> None:
    """Start parts, and wait until each is ready or has ended."""
    if any(part.kind == "mlflow" for part in parts):
        make_store(root)
    for part in parts:
        assert part.server is not None
        environment: dict[str, str] = {}
        if part.kind == "worker" and (url := noted_prefect(root)):
            environment["PREFECT_API_URL"] = url
        start(
            root, part.name, part.server, address=part.address, port=part.port, stop_s=part.stop_s,
            environment=environment,
        )  # fmt: skip
        if part.kind == "prefect":
            note_server(root, PREFECT_SERVER, f"{part.address}/api")
    give_up_at = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < give_up_at:
        known = records(root)
        if all(seen_of(root, part, known.get(part.name)).state in SETTLED for part in parts):
            return
        time.sleep(POLL_S)


def look(root: Path, *, mlflow_port: int | None, prefect_port: int | None) -> list[Seen]:
    """Return the state of every part that should run, and of every one that was started and not stopped."""
    parts = plan(root, mlflow_port=mlflow_port, prefect_port=prefect_port)
    known, unread = records(root), unreadable(root)
    planned = {part.name for part in parts}
    with ThreadPoolExecutor(8) as pool:
        rows = list(pool.map(lambda part: seen_of(root, part, known.get(part.name)), parts))
    rows = [with_fault(row, part.fault) for row, part in zip(rows, parts, strict=True)]
    rows += [Seen(name, "stopped", "", "", None, None, "", "") for name in unread if name not in planned]
    rows = [
        replace(row, state="degraded", note=without_record(root, row.name, unread[row.name]))
        if row.name in unread else row
        for row in rows
    ]  # fmt: skip
    gone = [record for name, record in known.items() if name not in planned]
    return rows + [
        Seen(
            record.name,
            "degraded" if process_of(record) else "crashed",
            record.address,
            "",
            record.pid,
            None,
            "it is no longer among what should run; 'modelyard down' and 'up' mend that",
            record.log,
        )
        for record in gone
    ]


def with_fault(row: Seen, fault: str) -> Seen:
    """Return a row with the faults of its recipe: what is served runs on, and what does not run is not started."""
    if not fault:
        return row
    states: dict[State, State] = {"ok": "degraded", "waiting": "degraded", "stopped": "refused"}
    return replace(row, state=states.get(row.state, row.state), note="; ".join(filter(None, [fault, row.note])))


def without_record(root: Path, name: str, path: Path) -> str:
    """Return how to bring back under control a part whose record cannot be read."""
    running = leader_of(root, name)
    ended = f"end it (kill {running.pid}), " if running else ""
    return f"its record cannot be read: {ended}remove {path}, and 'modelyard up' starts it again"


def seen_of(root: Path, part: Part, record: Record | None) -> Seen:
    """Return the present state of one part."""
    if part.server is None:
        state: State = "ok" if is_answering(f"{os.environ[part.option]}/health") else "down"
        note = f"your own, by {part.option}" + ("" if state == "ok" else "; it does not answer")
        return Seen(part.name, state, part.address, part.version, None, None, note, "")
    if record is None:
        return Seen(part.name, "stopped", part.address, part.version, None, None, "", "")
    process = process_of(record)
    if process is None:
        log = log_of(root, record)
        note = f"it ended; its log says last: {last_line(log) or 'nothing'}"
        return Seen(part.name, "crashed", record.address, part.version, record.pid, None, note, str(log))
    up_s = time.time() - record.created
    if not record.began_in(root):
        note = f"it was started when the project was in {record.folder}, and works there; 'modelyard up' starts it anew"
        return Seen(part.name, "degraded", record.address, part.version, record.pid, round(up_s, 1), note, record.log)
    health = part.server.health.replace(part.address, record.address) if part.address else ""
    if part.kind == "router":
        state, version, note = routed(root, part.name, is_healthy=is_answering(health))
    elif part.kind == "worker":
        state, version, note = scheduling(root, up_s=up_s)
    else:
        version, note = part.version, ""
        state = "ok" if not health or is_answering(health) else "starting" if up_s < READY_TIMEOUT_S else "down"
    if state == "down" and not note:
        note = f"it does not answer; its log says last: {last_line(Path(record.log)) or 'nothing'}"
    return Seen(part.name, state, record.address, version, record.pid, round(up_s, 1), note, record.log)


def log_of(root: Path, record: Record) -> Path:
    """Return where the log of a process is now, also where the project was moved meanwhile."""
    log = Path(record.log)
    return log if record.began_in(root) else root / log.relative_to(record.folder)


def scheduling(root: Path, *, up_s: float) -> tuple[State, str, str]:
    """Return state, version and note of the worker: the schedules that have no coming run, or else what comes next."""
    from flows.upkeep.due import coming_runs

    try:
        coming = coming_runs(root)
    except httpx.HTTPError:
        return (
            "degraded",
            "",
            "Prefect's server does not answer, so nothing runs by the clock; 'modelyard up' starts it",
        )
    except ParamsError:
        return "ok", "", ""  # which has a row of its own; what runs keeps the schedules that it read
    faults = [str(one) for one in coming if one.fault]
    if faults:
        return "starting" if up_s < OFFERED_WITHIN_S else "degraded", "", "; ".join(faults)
    first = min((one for one in coming if one.at), key=lambda one: one.at or datetime.max, default=None)
    return "ok", "", f"next: {first}" if first else ""


def is_answering(url: str) -> bool:
    """Return whether a server answers at this address with success."""
    with suppress(httpx.HTTPError):
        return client().get(url).is_success
    return False


@cache
def client() -> httpx.Client:
    """Return the one client for all checks: each new one would read the system's certificates."""
    return httpx.Client(timeout=HEALTH_TIMEOUT_S, trust_env=False)


def routed(root: Path, recipe: str, *, is_healthy: bool) -> tuple[State, str, str]:
    """Return state, version and note of a recipe's router, by the state that it writes and
    whether its champion answers."""
    try:
        written: dict[str, Any] = read_json(root / ".modelyard" / "router" / f"{recipe}.json")
    except ArtifactError:
        return "starting", "", ""
    serving, refused = written["serving"], written["refused"]
    version = f"{serving['version'] or '?'} {serving['tag']}" if serving else ""
    notes: list[str] = []
    if refused is not None:
        notes.append(f"{words_of_refused(refused, serving)}: {refused['reason']}")
    if untaken := written.get("untaken"):
        notes.append(f"the packaged build {untaken['tag']} is not served: {untaken['reason']}")
    if written["crashes"]:
        notes.append(f"its Bento ended {written['crashes']} times and was started again")
    if challenger := written["challenger"]:
        seen = f"{challenger['requests']} of {challenger['wanted']} requests"
        notes.append(f"{challenger['mode']}: version {challenger['version'] or '?'}, {seen}")
    elif verdict := verdict_of(root, recipe, serving):
        notes.append(verdict)
    with suppress(ArtifactError):
        end = last_end(root, recipe)
        if end is not None and end.state == "stopped":
            notes.append(end.said)
    if better := better_one(root, recipe):
        notes.append(f"version {better['version']} was better on the held-out rows: 'modelyard ledger {recipe}'")
    if written["state"] == "waiting":
        notes.append(f"no bundle yet; 'modelyard run {recipe}' makes one, and it is then served")
    state: State = written["state"] if written["state"] != "serving" else "ok" if is_healthy else "down"
    if not champion_file(root, recipe).is_file() and (known := changes(root, recipe)):
        champion = known[-1]["to"]["version"]
        lost = f"nothing names its champion, version {champion}, any more, and what was packaged last may be served"
        notes.append(f"{lost}; 'modelyard up' mends that, or 'modelyard doctor' says why it cannot")
        state = "degraded" if state == "ok" else state
    return state, version, "; ".join(notes)


def words_of_refused(refused: Mapping[str, Any], serving: Mapping[str, Any] | None) -> str:
    """Return what is refused, in words: a version, or only a build of the one that is served."""
    if serving is None or refused["digest"] != serving["digest"]:
        return f"version {refused['version'] or '?'} is refused"
    build = refused["build"][:SHORT]
    return f"build {build} of this version is refused (bring the service's code of before back and run, or mend it)"


def verdict_of(root: Path, recipe: str, serving: Any) -> str:
    """Return what became of the last trial of a challenger; empty where that challenger is
    served, or a trial is under way."""
    with suppress(ArtifactError, KeyError):
        verdict = read_json(root / ".modelyard" / "canary" / f"{recipe}.json")
        if serving is not None and verdict["digest"] != serving["digest"] and verdict["state"] != "running":
            return f"challenger {verdict['version'] or '?'} {verdict['state']}: {verdict['reason']}"
    return ""


def bring_down(root: Path, *, force: bool = False) -> list[tuple[str, bool]]:
    """Stop the parts that `up` started; return each name, and whether it ended when it was asked.

    BusyError where a run is at work that tells these servers what it does, unless it is forced.
    """
    with hold(root, "up", doing="modelyard down", wait=True):
        known = records(root)
        if known and not force:
            check_unused(root, known)
        # The worker first, so that it starts no flow meanwhile; then what is asked; at last what the others report to.
        servers = [name for name in ("mlflow", "prefect") if name in known]
        groups = [
            [name for name in known if name == "worker"],
            [n for n in known if n not in (*servers, "worker")],
            servers,
        ]
        done: list[tuple[str, bool]] = []
        for names in groups:
            with ThreadPoolExecutor(8) as pool:
                done += zip(names, pool.map(lambda name: stop(root, known[name]), names), strict=True)
        if "prefect" in known:
            (root / PREFECT_SERVER).unlink(missing_ok=True)
        for name, path in unreadable(root).items():
            logger.warning("%s was not stopped; %s", name, without_record(root, name, path))
        return done


def check_unused(root: Path, known: Mapping[str, Record]) -> None:
    """Raise BusyError where a run that is not the worker's own is at work."""
    members_of_all = [process for record in known.values() for process in members(record)]
    ours = {psutil.Process(), *members_of_all, *unrecorded(root)}
    for name, holder in held(root).items():
        # A stage alone is a part of a run that has a lock of its own, or of `dvc repro`, which asks no server.
        if find(holder.process) not in ours and not name.endswith(".stage"):
            mend = "wait for it, or end it ('modelyard down --force' stops the servers anyway)"
            raise BusyError(f"{name} is in use: {holder}; {mend}")
