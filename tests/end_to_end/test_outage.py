"""A team's servers that are gone for a minute in the middle of a retraining cost it nothing."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from mlflow import MlflowClient

from components.package.bento import free_port
from flows.servers import Server, mlflow_server, prefect_server, wait_until_ready
from tests.end_to_end.test_faults import stage_process
from tests.projects import edit, environment, make_project, run, write_rows
from tests.tiny import tiny_rows

GONE_S = 60
EPOCHS = 40


@contextmanager
def running(*servers: Server, **extra: str) -> Generator[None]:
    """Servers that answer; at the end they are killed, with no time to say anything."""
    with ExitStack() as stack:
        for server in servers:
            log = stack.enter_context(server.log.open("ab"))
            process = subprocess.Popen(
                server.command, env=environment(**extra, **server.environment), stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
            stack.callback(process.wait)
            stack.callback(os.killpg, process.pid, signal.SIGKILL)
            wait_until_ready(server, process)
        yield


def flow_runs(api: str) -> dict[str, str]:
    """How the runs of each flow ended."""
    flows = {one["id"]: one["name"] for one in httpx.post(f"{api}/flows/filter", json={}).json()}
    found: list[dict[str, Any]] = httpx.post(f"{api}/flow_runs/filter", json={"sort": "START_TIME_ASC"}).json()
    return {flows[one["flow_id"]]: one["state_type"] for one in found}


@pytest.mark.timeout(900)
def test_servers_that_are_gone_for_a_minute_cost_a_retraining_nothing(tmp_path: Path):
    root = make_project(tmp_path / "project", num_rows=240)
    (root / ".modelyard/logs").mkdir(parents=True)
    servers = [mlflow_server(root, free_port()), prefect_server(root, free_port())]
    mlflow, api = (server.health.rsplit("/health", 1)[0] for server in servers)
    own = {"PREFECT_HOME": str(tmp_path / "prefect"), "BENTOML_HOME": str(tmp_path / "bentos")}
    extra = {"MLFLOW_TRACKING_URI": mlflow, "PREFECT_API_URL": api, **own}
    with running(*servers, **own):
        run(["modelyard", "run", "tiny"], root, **extra)
        write_rows(root / "data/rows.csv", tiny_rows(280))
        edit(root, "tiny.finetune.epochs", EPOCHS)
        edit(root, "tiny.finetune.early_stopping.patience", EPOCHS)
        retraining = subprocess.Popen(
            ["modelyard", "retrain", "tiny", "--json"], cwd=root, env=environment(**extra), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        stage_process("finetune", root)
    try:
        time.sleep(GONE_S)
        assert retraining.poll() is None
        with running(*servers, **own):
            output, said = retraining.communicate(timeout=400)
            assert retraining.returncode == 0, said
            assert json.loads(output)["state"] == "promoted"
            client = MlflowClient(mlflow)
            (experiment,) = client.search_experiments(filter_string="name = 'tiny'")
            runs = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"])
            assert {one.info.status for one in runs} == {"FINISHED"}
            finetune = [one for one in runs if one.info.run_name == "finetune"][-1]
            curve = client.get_metric_history(finetune.info.run_id, "validation_loss")
            assert [point.step for point in curve] == list(range(1, EPOCHS + 1))
            assert flow_runs(api)["retrain"] == flow_runs(api)["pipeline"] == "COMPLETED"
    finally:
        retraining.kill()
