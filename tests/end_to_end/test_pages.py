"""The pages of MLflow and Prefect, and our own, of a project with one run: in a browser in which nobody has chosen
anything yet, which may ask this machine alone."""

import json
import re
from pathlib import Path

import pytest
from mlflow import MlflowClient

from components.tracking.store import Store
from tests.browser import Browser
from tests.conftest import free_port
from tests.flows.servers.test_servers import see, started
from tests.prefect_client import found_by_prefect
from tests.projects import make_project, run

MODEL_TRAINING = "Model registry"
"""What MLflow's menu holds for model training, and not for GenAI."""


@pytest.mark.long
def test_pages_of_a_run_open_as_model_training_and_ask_this_machine_alone(tmp_path: Path, browser: Browser) -> None:
    folder = make_project(tmp_path / "project")
    mlflow, prefect = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    ports = ["--mlflow-port", mlflow.rpartition(":")[2], "--prefect-port", prefect.rpartition(":")[2]]
    with started(folder, "ui", *ports, expect="Ctrl-C"):
        run(["modelyard", "run", "tiny"], folder)
        for url, wanted in pages_of_mlflow(folder, mlflow, linked(prefect)).items():
            assert MODEL_TRAINING in see(browser, url, wanted).text("body"), url
        for path, wanted in pages_of_prefect(prefect).items():
            see(browser, f"{prefect}{path}", wanted)
    for page in [page for place in ("observations", "artifacts") for page in (folder / place).rglob("*.html")]:
        see(browser, page.as_uri(), "")
    assert (folder / "observations/tiny/compress/candidates.html").is_file()
    assert (folder / "artifacts/tiny/evaluate/results/report.html").is_file()


def linked(prefect: str) -> str:
    """The address of the run in MLflow that Prefect's page leads to."""
    (artifact,) = found_by_prefect(f"{prefect}/api", "artifacts", {"artifacts": {"key": {"any_": ["tiny-mlflow"]}}})
    (address,) = re.findall(r"\]\((http.*)\)", artifact["data"])
    return address


def pages_of_mlflow(folder: Path, server: str, link: str) -> dict[str, str]:
    """What is to be seen by the address: of ours where we print or link one, else of what a click leads to."""
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = Store(folder, "tiny").experiment_id
    runs = client.search_runs([experiment])
    (pipeline,) = [one for one in runs if one.data.tags["modelyard.stage"] == "pipeline"]
    assert link.startswith(f"{server}/#/experiments/{experiment}/runs/{pipeline.info.run_id}")
    stages = re.findall(r"\]\((#/.*)\)", pipeline.data.tags["mlflow.note.content"])
    two = json.dumps([one.info.run_id for one in runs[:2]])
    compared = f'compare-runs?runs={two}&experiments=["{experiment}"]'
    return {
        server: "Recent Experiments",
        link: "ingest to package",
        f"{server}/{stages[0]}": "ingest",
        f"{server}/#/experiments/{experiment}": "tiny (",  # the data set
        f"{server}/#/experiments/{experiment}/runs/{pipeline.info.run_id}/model-metrics": "accuracy",
        f"{server}/#/{compared}": "Comparing 2 Runs",
        f"{server}/#/models": "Registered Models",
        f"{server}/#/models/tiny/versions/1": "champion",
    }


def pages_of_prefect(server: str) -> dict[str, str]:
    """What is to be seen by the path: the page of a key lists its artifacts, each of which has a page of its own."""
    (flow_run,) = found_by_prefect(f"{server}/api", "flow_runs", {})
    asked = {"artifacts": {"key": {"any_": ["tiny-evaluate"]}}}
    (figures,) = found_by_prefect(f"{server}/api", "artifacts", asked)
    return {
        f"/runs/flow-run/{flow_run['id']}": "8 Task runs",
        "/artifacts": "tiny-mlflow",
        "/artifacts/key/tiny-evaluate": figures["id"][:8],
        f"/artifacts/artifact/{figures['id']}": "accuracy",
        "/artifacts/key/tiny-finetune-progress": "epoch 1 of ",
        "/deployments": "Deployments",
    }
