"""Which flow runs are at work here: a note by its process for each, so that a killed one is found and marked."""

import json
import logging
import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from components.artifacts import write_json

logger = logging.getLogger(__name__)

FOLDER = ".modelyard/run/flows"
WORKER_VARIABLE = "MODELYARD_WORKER"
"""Set for the runs of `modelyard worker`: they end when it does."""
OPEN = ("RUNNING", "PENDING", "CANCELLING")


@contextmanager
def known_by_its_process(root: Path) -> Generator[None]:
    """Note which process runs the flow run that the block is in."""
    from prefect.runtime import flow_run

    note = root / FOLDER / f"{flow_run.id}.json"
    note.parent.mkdir(parents=True, exist_ok=True)
    write_json(note, {"pid": os.getpid(), "started": psutil.Process().create_time()})
    try:
        yield
    finally:
        note.unlink(missing_ok=True)


def is_at_work(root: Path, flow_run_id: str) -> bool:
    """Whether the process of a flow run is still there."""
    with suppress(OSError, ValueError, KeyError, psutil.Error):
        seen = json.loads((root / FOLDER / f"{flow_run_id}.json").read_text(encoding="utf-8"))
        return abs(psutil.Process(seen["pid"]).create_time() - seen["started"]) < 1
    return False


def mark_killed(root: Path, deployments: list[str]) -> list[str]:
    """Mark the open runs of these deployments whose process is gone as crashed, and forget them; gives their ids.

    A kill -9 of the worker or of a flow leaves them RUNNING: nothing else of them is left.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import (
        DeploymentFilter,
        DeploymentFilterName,
        FlowRunFilter,
        FlowRunFilterState,
        FlowRunFilterStateType,
    )
    from prefect.client.schemas.objects import StateType
    from prefect.states import Crashed

    is_open = FlowRunFilterStateType(any_=[StateType(name) for name in OPEN])
    found: list[str] = []
    with get_client(sync_client=True) as client:
        runs: list[Any] = client.read_flow_runs(
            deployment_filter=DeploymentFilter(name=DeploymentFilterName(any_=deployments)),
            flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=is_open)),
        )
        for run in runs:
            if is_at_work(root, str(run.id)):
                continue
            client.set_flow_run_state(run.id, Crashed(message="its process was killed"), force=True)
            (root / FOLDER / f"{run.id}.json").unlink(missing_ok=True)
            logger.warning("%s was killed in the middle; its next run carries on", run.name)
            found.append(str(run.id))
    return found
