"""What a user does wrong, and what a machine does at night: one clear line, and nothing earlier is lost."""

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from ruamel.yaml import YAML

from components.package.bento import free_port
from components.plumbing.finished import FINISHED
from components.plumbing.processes import is_running
from components.recipes import stages
from components.tracking.stage_run import CARRIED_ON
from flows.operate.doctor import look_at_stale_runs
from flows.pipeline.notes import stale_flow_runs
from flows.servers.tools import prefect_server
from tests.hooks import listening, webhook
from tests.patience import PATIENCE_S, wait_until
from tests.prefect_client import found_by_prefect
from tests.processes import answering, at_work, stage_process
from tests.projects import edit, make_project, run

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, prefect_api: str) -> Path:
    """A project whose stages up to finetune have run."""
    folder = make_project(tmp_path_factory.mktemp("faults") / "project")
    flow(folder, prefect_api, "--until", "finetune")
    return folder


@pytest.fixture
def long_finetune(project: Path) -> Iterator[None]:
    """finetune has so many epochs that it is still at work when a signal comes."""
    edit(project, "tiny.finetune.epochs", 5000)
    edit(project, "tiny.finetune.early_stopping.patience", 5000)
    yield
    edit(project, "tiny.finetune.epochs", 6)
    edit(project, "tiny.finetune.early_stopping.patience", 6)


def flow(
    folder: Path, prefect_api: str, *words: str, check: bool = True, **extra: str
) -> subprocess.CompletedProcess[str]:
    return run(["modelyard", "run", "tiny", *words], folder, check=check, PREFECT_API_URL=prefect_api, **extra)


def started(
    folder: Path, prefect_api: str, *words: str, **extra: str
) -> AbstractContextManager[subprocess.Popen[str]]:  # fmt: skip
    """A pipeline at work."""
    return at_work(["modelyard", "run", "tiny", *words], folder, PREFECT_API_URL=prefect_api, **extra)


def newest(folder: Path) -> dict[str, Run]:
    """The newest run of each stage in MLflow, and of the pipeline."""
    client = client_of(folder)
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"])
    return {run.data.tags["modelyard.stage"]: run for run in runs}


def statuses(folder: Path) -> dict[str, str]:
    """How they stand."""
    return {stage: run.info.status for stage, run in newest(folder).items()}


def artifact_of(folder: Path, stage: str) -> dict[str, bytes]:
    files = sorted(p for p in (folder / "artifacts" / "tiny" / stage).rglob("*") if p.is_file())
    return {p.name: p.read_bytes() for p in files}


def test_failed_gate_stops_with_3_and_leaves_the_last_good_artifact(project: Path, prefect_api: str) -> None:
    edit(project, "tiny.evaluate.gate.min", 0.5)
    flow(project, prefect_api, "--until", "evaluate")
    good = artifact_of(project, "evaluate")
    lock = (project / "dvc.lock").read_bytes()
    edit(project, "tiny.evaluate.gate.min", 2.0)
    edit(project, "tiny.notify", {"team": webhook(), "dead": webhook(variable="DEAD")})
    dead = f"http://127.0.0.1:{free_port()}/SECRET"
    with listening() as hook:
        done = flow(project, prefect_api, "--until", "evaluate", check=False, HOOK=hook.url, DEAD=dead)
    edit(project, "tiny.notify", {})
    assert done.returncode == 3, done.stderr
    (told,) = hook.got
    assert (told["event"], told["recipe"], told["where"]) == ("failed_gate", "tiny", "modelyard run tiny")
    assert f"modelyard: {told['verdict']}" in done.stderr
    assert told["run_id"] == newest(project)["pipeline"].info.run_id
    assert done.stderr.count("notify.dead was not told of failed_gate: it did not answer (URLError)") == 1
    assert "SECRET" not in done.stderr
    assert "evaluate@tiny: " in done.stderr
    assert "Traceback" not in done.stderr
    assert artifact_of(project, "evaluate") == good
    assert (project / "dvc.lock").read_bytes() == lock
    report = json.loads((project / "observations/tiny/evaluate/report.json").read_text())
    assert 0 < report["accuracy"] <= 1
    assert told["figures"]["accuracy"] == report["accuracy"]
    assert statuses(project)["evaluate"] == "FAILED"
    asked = {"limit": 200, "artifacts": {"key": {"any_": ["tiny-evaluate-gate"]}}}
    gates = found_by_prefect(prefect_api, "artifacts", asked)
    verdict = done.stderr.splitlines()[-1].removeprefix("modelyard: ")
    (gate,) = [one for one in gates if one["description"].startswith(verdict)]
    assert {"figure": "accuracy", "value": report["accuracy"]} in json.loads(gate["data"])
    edit(project, "tiny.evaluate.gate.min", 0.5)


def test_faults_of_params_are_one_report_with_exit_code_2(project: Path, prefect_api: str) -> None:
    edit(project, "tiny.finetune.epochs", 0)
    edit(project, "tiny.compress.gate.max_size_ratio", "small")
    done = flow(project, prefect_api, check=False)
    edit(project, "tiny.finetune.epochs", 6)
    edit(project, "tiny.compress.gate.max_size_ratio", 10.0)
    assert done.returncode == 2
    assert "recipes.tiny.finetune.epochs: " in done.stderr
    assert "recipes.tiny.compress.gate.max_size_ratio: " in done.stderr


def test_stage_that_was_killed_is_carried_on_by_the_next_run(project: Path, prefect_api: str) -> None:
    before = artifact_of(project, "finetune")
    with started(project, prefect_api, "--force", "finetune", "--until", "finetune") as process:
        stage = stage_process("finetune", project)
        wait_for_checkpoint(project)
        stage.send_signal(signal.SIGKILL)
        output, _ = process.communicate(timeout=2 * PATIENCE_S)
    assert process.returncode == 1, output
    assert artifact_of(project, "finetune") == before
    killed = newest(project)["finetune"].info.run_id
    kill_before_it_is_cached(project)
    assert list((project / "checkpoints").rglob("model.safetensors"))
    done = flow(project, prefect_api, "--until", "finetune", "--force", "finetune")
    (step, num_steps) = re.findall(r"carrying on from step (\d+) of (\d+)", done.stderr)[0]
    assert step == num_steps
    assert artifact_of(project, "finetune") == before
    assert not list((project / "checkpoints").rglob("*.*"))
    run = newest(project)["finetune"]
    assert (run.info.status, run.info.run_id, run.data.tags[CARRIED_ON]) == ("FINISHED", killed, "2")
    client = client_of(project)
    for name in ("loss", "learning_rate", "grad_norm", "tokens_per_s", "mfu", "validation_loss"):
        steps = [point.step for point in client.get_metric_history(killed, name)]
        assert len(steps) == len(set(steps)) > 5, name
    assert run.data.metrics["mfu"] > 0
    assert run.data.metrics.keys() >= {"system/cpu_utilization_percentage", "system/system_memory_usage_megabytes"}


def test_training_that_was_killed_is_carried_on_by_the_next_repro_to_the_same_artifact(tmp_path: Path) -> None:
    project, repro = make_project(tmp_path / "project"), ["dvc", "repro", "--single-item", "finetune@tiny"]
    edit(project, "tiny.finetune.epochs", 15)
    edit(project, "tiny.finetune.early_stopping.patience", 15)
    run(["dvc", "repro", "-q", "pretrain@tiny"], project)
    whole = shutil.copytree(project, tmp_path / "whole", symlinks=True)
    run(repro, whole)
    with at_work(repro, project) as process:
        stage = stage_process("finetune", project)
        wait_for_checkpoint(project)
        stage.send_signal(signal.SIGKILL)
        output, _ = process.communicate(timeout=2 * PATIENCE_S)
    assert process.returncode, output
    killed = newest(project)["finetune"].info.run_id
    (step, num_steps) = re.findall(r"carrying on from step (\d+) of (\d+)", run(repro, project).stderr)[0]
    assert 0 < int(step) < int(num_steps)
    lock, expected = (YAML().load(folder / "dvc.lock")["stages"]["finetune@tiny"] for folder in (project, whole))
    assert lock["outs"] == expected["outs"]
    assert artifact_of(project, "finetune") == artifact_of(whole, "finetune")
    last = newest(project)["finetune"]
    assert (last.info.status, last.info.run_id, last.data.tags[CARRIED_ON]) == ("FINISHED", killed, "1")
    steps = [point.step for point in client_of(project).get_metric_history(killed, "loss")]
    assert len(steps) == len(set(steps)) > 5


def client_of(folder: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")


def kill_before_it_is_cached(folder: Path) -> None:
    """Kill DVC, which knows nothing of finetune's output, once the stage has made it and before DVC has it."""
    lock = YAML().load(folder / "dvc.lock")
    del lock["stages"]["finetune@tiny"]
    YAML().dump(lock, folder / "dvc.lock")
    with at_work(["dvc", "repro", "--force", "--single-item", "finetune@tiny"], folder) as process:
        wait_until(lambda: list((folder / "checkpoints").rglob(FINISHED)), within_s=2 * PATIENCE_S, every_s=0.01)
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate(timeout=2 * PATIENCE_S)
    assert process.returncode == -signal.SIGKILL, output
    assert "finetune@tiny" not in YAML().load(folder / "dvc.lock")["stages"]


def wait_for_checkpoint(folder: Path) -> None:
    found = (folder / "checkpoints").rglob
    wait_until(lambda: [*found("0*/checkpoint.json")], lambda: "no checkpoint was made", within_s=2 * PATIENCE_S)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.usefixtures("long_finetune")
def test_interrupt_ends_the_children_and_marks_the_runs_killed(project: Path, prefect_api: str, number: int) -> None:
    with started(project, prefect_api, "--until", "finetune") as process:
        stage = stage_process("finetune", project)
        wait_for_run(project, "finetune", "RUNNING")
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # as a terminal does
        else:
            process.send_signal(number)
        output, _ = process.communicate(timeout=2 * PATIENCE_S)
    assert process.returncode == 130, output
    assert not is_running(stage)  # ended; whoever inherited it may not have asked yet
    assert statuses(project)["finetune"] == "KILLED"
    assert statuses(project)["pipeline"] == "KILLED"


@pytest.mark.parametrize("shell", ["sh", "bash"])  # DVC starts a stage through $SHELL; some stay in between
@pytest.mark.usefixtures("long_finetune")
def test_driver_that_was_killed_takes_its_stage_with_it(
    project: Path, prefect_api: str, shell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = shutil.which(shell)
    assert path
    with started(project, prefect_api, "--until", "finetune", SHELL=path) as process:
        stage = stage_process("finetune", project)
        wait_for_run(project, "finetune", "RUNNING")
        process.kill()
        process.communicate(timeout=2 * PATIENCE_S)
        stage.wait(timeout=2 * PATIENCE_S)
    assert statuses(project)["finetune"] == "KILLED"
    if shell == "sh":
        monkeypatch.setenv("PREFECT_API_URL", prefect_api)
        (left,) = stale_flow_runs(project)
        (check,) = look_at_stale_runs(project)
        assert (left[:8] in check.found, check.mend) == (
            True,
            "the next 'modelyard run', of any recipe, marks them as crashed",
        )
        flow(project, prefect_api, "--until", "ingest")  # which closes them
        assert stale_flow_runs(project) == []
        asked = {"task_runs": {"state": {"type": {"any_": ["RUNNING"]}}}, "flow_runs": {"id": {"any_": [left]}}}
        assert found_by_prefect(prefect_api, "task_runs", asked) == []


def wait_for_run(folder: Path, stage: str, status: str) -> None:
    wait_until(lambda: statuses(folder).get(stage) == status, lambda: f"{stage} never was {status}", every_s=0.1)


def test_second_run_of_a_recipe_is_told_and_stops(project: Path, prefect_api: str) -> None:
    with started(project, prefect_api, "--force", "finetune", "--until", "finetune") as first:
        stage = stage_process("finetune", project)
        stage.suspend()
        second = flow(project, prefect_api, "--no-wait", check=False)
        stage.resume()
        first.communicate(timeout=2 * PATIENCE_S)
    assert first.returncode == 0
    assert second.returncode == 1
    assert "tiny is in use: modelyard run tiny (process " in second.stderr


@pytest.mark.usefixtures("long_finetune")
def test_why_during_a_run_says_whose_it_is(project: Path, prefect_api: str) -> None:
    with started(project, prefect_api, "--until", "finetune") as process:
        stage_process("finetune", project)
        done = run(["modelyard", "why", "tiny"], project, check=False)
        assert process.poll() is None
    assert done.returncode == 1
    (said,) = done.stderr.splitlines()
    assert said.startswith(f"modelyard: tiny is in use: modelyard run tiny (process {process.pid}, for ")


def test_unknown_stage_gets_a_hint(project: Path, prefect_api: str) -> None:
    done = flow(project, prefect_api, "--until", "evalute", check=False)
    assert done.returncode == 2
    assert "did you mean 'evaluate'" in done.stderr
    assert all(stage in done.stderr for stage in stages())


@pytest.mark.parametrize(
    ("variable", "path", "what"),
    [("MLFLOW_TRACKING_URI", "", "the MLflow store"), ("PREFECT_API_URL", "/api", "the Prefect server")],
)
def test_store_that_does_not_answer_is_named(
    project: Path, prefect_api: str, variable: str, path: str, what: str
) -> None:
    url = f"http://127.0.0.1:{free_port()}{path}"
    done = run(["modelyard", "run", "tiny"], project, check=False, **{"PREFECT_API_URL": prefect_api, variable: url})
    assert done.returncode == 1
    assert f"{what} {url} cannot be reached" in done.stderr
    assert "Traceback" not in done.stderr


def test_prefect_server_that_goes_away_in_the_middle_is_named(project: Path, tmp_path: Path) -> None:
    server = prefect_server(project, free_port())
    api = server.health.removesuffix("/health")
    with ExitStack() as stack:
        with answering(server, PREFECT_HOME=str(tmp_path)):
            run_words = ("--force", "validate", "--until", "validate")
            process = stack.enter_context(started(project, api, *run_words, PREFECT_CLIENT_MAX_RETRIES="1"))
            stage_process("validate", project)
        output, _ = process.communicate(timeout=4 * PATIENCE_S)
    assert process.returncode == 1, output
    assert f"modelyard: the Prefect server {api} went away during the run" in output
    assert "EventsWorker" not in output
    assert "Traceback" not in output
    assert statuses(project)["validate"] == "FINISHED"
    assert statuses(project)["pipeline"] == "FAILED"


def test_source_that_vanished_keeps_what_was_made(project: Path, prefect_api: str) -> None:
    good = artifact_of(project, "ingest")
    (project / "data/rows.csv").rename(project / "data/away.csv")
    done = flow(project, prefect_api, check=False)
    (project / "data/away.csv").rename(project / "data/rows.csv")
    assert done.returncode == 2, done.stderr
    assert "data/rows.csv" in done.stderr
    assert artifact_of(project, "ingest") == good
    assert statuses(project)["pipeline"] == "FAILED"
