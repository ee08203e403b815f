"""A team's servers that are gone for a minute in the middle of a retraining cost it nothing."""

import json
import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from components.package.bento import free_port
from flows.servers.tools import mlflow_server, prefect_server
from tests.patience import PATIENCE_S, wait_until
from tests.prefect_client import prefect_client
from tests.processes import answering, at_work
from tests.projects import edit, make_project, run, write_rows
from tests.tiny import tiny_rows

GONE_S = 60
EPOCHS = 200


def states_of_flows(api: str) -> dict[str, list[str]]:
    """How the runs of each flow ended, the oldest first."""
    found: dict[str, list[str]] = defaultdict(list)
    with prefect_client(api) as client:
        names = {one["id"]: one["name"] for one in client.post("/flows/filter", json={}).json()}
        runs: list[dict[str, Any]] = client.post("/flow_runs/filter", json={"sort": "START_TIME_ASC"}).json()
        for one in runs:
            found[names[one["flow_id"]]].append(one["state_type"])
    return found


def wait_for_curve(mlflow: str) -> None:
    """Until the training under way has logged a point."""
    client = MlflowClient(mlflow)

    def is_there() -> bool:
        last = runs_of(client)[-1]
        return last.info.run_name == "finetune" and last.info.status == "RUNNING" and bool(last.data.metrics)

    wait_until(
        is_there, lambda: [(one.info.run_name, one.info.status) for one in runs_of(client)],
        within_s=5 * PATIENCE_S, every_s=0.5,
    )  # fmt: skip


def runs_of(client: MlflowClient) -> list[Run]:
    """The oldest first."""
    (experiment,) = client.search_experiments(filter_string="name = 'tiny'")
    return list(client.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"]))


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_servers_that_are_gone_for_a_minute_cost_a_retraining_nothing(tmp_path: Path) -> None:
    root = make_project(tmp_path / "project", num_rows=240)
    servers = [mlflow_server(root, free_port()), prefect_server(root, free_port())]
    mlflow, api = (server.health.rsplit("/health", 1)[0] for server in servers)
    own = {"PREFECT_HOME": str(tmp_path / "prefect"), "BENTOML_HOME": str(tmp_path / "bentos")}
    extra = {"MLFLOW_TRACKING_URI": mlflow, "PREFECT_API_URL": api, **own}
    with ExitStack() as stack:
        with answering(*servers, **own):
            run(["modelyard", "run", "tiny"], root, **extra)
            write_rows(root / "data/rows.csv", tiny_rows(280))
            edit(root, "tiny.finetune.epochs", EPOCHS)
            edit(root, "tiny.finetune.early_stopping.patience", EPOCHS)
            process = stack.enter_context(at_work(["modelyard", "retrain", "tiny"], root, **extra))
            wait_for_curve(mlflow)
        time.sleep(GONE_S)
        assert process.poll() is None
        with answering(*servers, **own):
            said, _ = process.communicate(timeout=600)
            assert process.returncode == 0, said
            assert json.loads((root / ".modelyard/champions/tiny.json").read_text())["version"] == 2
            runs = runs_of(MlflowClient(mlflow))
            assert [one.info.status for one in runs if one.info.status not in ("FINISHED", "FAILED", "KILLED")] == []
            assert [one.info.status for one in runs if one.info.run_name == "finetune"][-1] == "FINISHED"
            states = states_of_flows(api)
            assert states["retrain"] == ["COMPLETED"]
            assert states["pipeline"][-1] == "COMPLETED"
            assert "RUNNING" not in states["pipeline"]
