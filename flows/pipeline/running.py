"""The flow runs that are at work here: each has a note of its process, so that a killed one is found and marked; and
the ways in which a run ends, in time and with its worker."""

import logging
import os
import signal
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from components.plumbing.artifacts import write_json
from components.plumbing.errors import TimeLimitError
from components.plumbing.processes import identity, is_alive
from flows.pipeline.notes import FOLDER, OPEN, is_at_work
from flows.pipeline.stage import STOP_WAIT_S
from flows.telling.alerts import tell_of_killed

logger = logging.getLogger(__name__)

WORKER_VARIABLE = "MODELYARD_WORKER"
"""The environment variable with the identity of the process of `modelyard worker`, whose runs end when it does."""
ASK_AGAIN_AFTER_S = STOP_WAIT_S + 10
"""Seconds that a stage has to end before the run is asked to end once more."""
LOOK_EVERY_S = 1.0
KEPT_S = 7 * 86400
BEGINNING = timedelta(minutes=5)
"""How long a run that a worker took may have no note yet, while its process starts."""


@contextmanager
def known_by_its_process(root: Path) -> Generator[None]:
    """Note which process runs the flow run that the block is in.

    The note stays: that the block ended does not say that Prefect's server has heard of it. `mark_killed` takes it away
    once the process is gone.
    """
    from prefect.runtime import flow_run

    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    forget_old(folder)
    write_json(folder / f"{flow_run.id}.json", {"process": identity()})
    yield


def forget_old(folder: Path) -> None:
    """Remove the notes that are older than KEPT_S, which nobody took away where no worker ever looks."""
    for note in folder.glob("*.json"):
        with suppress(OSError):
            if time.time() - note.stat().st_mtime > KEPT_S:
                note.unlink()


def mark_killed(root: Path, deployments: list[str], *, is_worker_there: bool = False) -> list[str]:
    """Mark the open runs of these deployments, the runs that they called, and their tasks as crashed where their
    process is gone, and forget them; return their ids. `is_worker_there` says that a worker is at work, so that a
    run may be about to start.

    A kill -9 of the worker or of a flow leaves them RUNNING: nothing else of them is left. So does an end of which the
    server, which was away, never heard.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import (
        DeploymentFilter,
        DeploymentFilterName,
        FlowRunFilter,
        FlowRunFilterId,
        FlowRunFilterState,
        FlowRunFilterStateType,
    )
    from prefect.client.schemas.objects import StateType
    from prefect.states import Crashed

    is_open = FlowRunFilterStateType(any_=[StateType(name) for name in OPEN])
    # What another flow called has no deployment, but a note.
    noted = [UUID(note.stem) for note in (root / FOLDER).glob("*.json")]
    found: list[str] = []
    if not deployments and not any(not is_at_work(root, str(number)) for number in noted):
        return found
    with get_client(sync_client=True) as client:
        of_deployments: list[Any] = []
        if deployments:
            of_deployments = client.read_flow_runs(
                flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=is_open)),
                deployment_filter=DeploymentFilter(name=DeploymentFilterName(any_=deployments)),
            )
        of_notes: list[Any] = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=is_open), id=FlowRunFilterId(any_=noted))
        )
        # Another project on this server may have a recipe of the same name.
        ours = [run for run in of_deployments if run.parameters.get("root") == str(root)]
        runs: dict[UUID, Any] = {run.id: run for run in (*ours, *of_notes)}
        for run in runs.values():
            is_new = run.id not in noted and datetime.now(UTC) - run.state.timestamp < BEGINNING
            if is_at_work(root, str(run.id)) or (is_worker_there and is_new):
                continue
            client.set_flow_run_state(run.id, Crashed(message="its process was killed"), force=True)
            close_tasks(client, run.id)
            logger.warning("%s was killed in the middle; its next run carries on", run.name)
            found.append(str(run.id))
    tell_of_killed(root, {runs[UUID(one)].name for one in found})
    for number in noted:
        if not is_at_work(root, str(number)):
            (root / FOLDER / f"{number}.json").unlink(missing_ok=True)
    return found


def close_tasks(client: Any, flow_run: UUID) -> None:
    """Mark the open tasks of a flow run that was killed as crashed."""
    from prefect.client.schemas.filters import (
        FlowRunFilter,
        FlowRunFilterId,
        TaskRunFilter,
        TaskRunFilterState,
        TaskRunFilterStateType,
    )
    from prefect.client.schemas.objects import StateType
    from prefect.states import Crashed

    is_open = TaskRunFilterStateType(any_=[StateType(name) for name in OPEN])
    for task in client.read_task_runs(
        flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[flow_run])),
        task_run_filter=TaskRunFilter(state=TaskRunFilterState(type=is_open)),
    ):
        client.set_task_run_state(task.id, Crashed(message="its process was killed"), force=True)


@contextmanager
def time_limit(limit_s: int | None, recipe: str) -> Generator[None]:
    """End the block after `limit_s` seconds (None: never) or when the worker that started it is gone;
    TimeLimitError where it took too long.

    The main thread gets SIGTERM, which raises KeyboardInterrupt, so that the stage at work is ended with what it
    started; again, if it does not take it. DVC ignores SIGINT while a stage is at work.
    """
    done, is_late = threading.Event(), threading.Event()
    watch = threading.Thread(target=end_in_time, args=(limit_s, done, is_late), daemon=True)
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGINT, signal.SIGTERM)}
    watch.start()
    try:
        yield
    except KeyboardInterrupt:
        done.set()
        if is_late.is_set():
            raise TimeLimitError(
                f"{recipe}: the run took longer than {limit_s:,} s and was stopped; the next one carries on where it "
                "was. Raise limit_s of its schedule, or ask 'modelyard estimate' what takes so long"
            ) from None
        raise
    finally:
        done.set()
        watch.join()
        for number, handler in before.items():
            signal.signal(number, handler)


def end_in_time(limit_s: int | None, done: threading.Event, is_late: threading.Event) -> None:
    """Interrupt the main thread once the time is over or the worker is gone."""
    give_up_at = time.monotonic() + limit_s if limit_s is not None else None
    worker = os.environ.get(WORKER_VARIABLE)
    while not done.wait(LOOK_EVERY_S):
        is_orphan = worker is not None and not is_alive(worker)
        if give_up_at is not None and time.monotonic() > give_up_at:
            is_late.set()
        if not is_orphan and not is_late.is_set():
            continue
        os.kill(os.getpid(), signal.SIGTERM)
        done.wait(ASK_AGAIN_AFTER_S)
