"""The loop as a user runs it: nothing new, new rows, a challenger that the gate refuses, a limit."""

import json
import shutil
import sqlite3
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from components.monitoring.causes import last_end
from components.promotion.ledger import entries, verify
from tests.hooks import VARIABLE, Hook, listening, webhook
from tests.patience import PATIENCE_S, wait_until
from tests.prefect_client import prefect_client
from tests.processes import at_work, stage_process
from tests.projects import edit, make_project, run, write_rows
from tests.tiny import tiny_rows

A_YEAR = {"cron": "0 0 31 12 *", "timezone": "UTC", "limit_s": 3600}  # so that it runs when it is asked to


@pytest.fixture(scope="module")
def listener() -> Generator[Hook]:
    """Who is told."""
    with pytest.MonkeyPatch.context() as patch, listening() as server:
        patch.setenv(VARIABLE, server.url)
        yield server


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, prefect_api: str, listener: Hook) -> Path:
    """A project whose first version is the champion."""
    folder = make_project(tmp_path_factory.mktemp("loop") / "project", num_rows=240)
    edit(folder, "tiny.notify", {"team": webhook()})
    run(["modelyard", "run", "tiny"], folder, PREFECT_API_URL=prefect_api)
    (told,) = listener.got
    assert (told["event"], told["recipe"]) == ("promotion", "tiny")
    assert told["verdict"] == "version 1 is the champion (promoted): the first that was registered"
    return folder


@pytest.fixture
def hook(listener: Hook) -> Hook:
    listener.got.clear()
    return listener


@pytest.fixture
def project(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "project", symlinks=True))


def champion(folder: Path) -> int:
    named = folder / ".modelyard/champions/tiny.json"
    return json.loads(named.read_text())["version"] if named.is_file() else 0


@pytest.mark.timeout(900)
@pytest.mark.long
def test_nothing_new_runs_nothing_and_says_so(project: Path, prefect_api: str, hook: Hook) -> None:
    done = run(["modelyard", "retrain", "tiny", "--json"], project, PREFECT_API_URL=prefect_api)
    said = json.loads(done.stdout)
    assert said["state"] == "nothing new"
    assert "the source gave the rows that it gave before, so nothing ran" in said["why"]
    assert {stage["stage"] for stage in said["stages"] if stage["state"] == "ran"} == {"ingest"}
    end = last_end(project, "tiny")
    assert end is not None
    assert (end.cause, end.state, end.why) == ("by hand", said["state"], said["why"])
    assert champion(project) == said["version"] == 1
    assert hook.got == []
    assert [entry["action"] for entry in entries(project, "tiny")] == ["adopt"]


@pytest.mark.long
@pytest.mark.timeout(900)
def test_new_rows_give_a_challenger_which_the_gate_refuses_or_promotes(
    project: Path, prefect_api: str, hook: Hook
) -> None:
    write_rows(project / "data/rows.csv", tiny_rows(280))
    edit(project, "tiny.promotion.max_size_ratio", 0.5)
    refused = run(["modelyard", "retrain", "tiny"], project, check=False, PREFECT_API_URL=prefect_api)
    assert refused.returncode == 3
    assert "version 2 does not take the place of version 1: " in refused.stderr.splitlines()[-1]
    end = last_end(project, "tiny")
    assert end is not None
    assert (end.state, end.why in refused.stderr) == ("stopped", True)
    (told,) = hook.got
    assert (told["event"], told["verdict"]) == ("failed_gate", end.why)
    assert told["figures"]["size_ratio"] > 0.5
    assert told["run_id"]
    assert champion(project) == 1
    again = run(["modelyard", "retrain", "tiny", "--json"], project, PREFECT_API_URL=prefect_api)
    assert json.loads(again.stdout)["state"] == "nothing new"  # what was refused is not judged again by itself
    edit(project, "tiny.promotion.max_size_ratio", 2.0)
    run(["modelyard", "promote", "tiny", "--version", "2"], project)
    assert champion(project) == 2
    assert [entry["action"] for entry in entries(project, "tiny")] == ["adopt", "refuse", "promote"]
    run(["modelyard", "rollback", "tiny"], project)
    assert champion(project) == 1
    assert [(one["event"], one["figures"].get("judged") is not None) for one in hook.got[1:]] == [
        ("promotion", True), ("promotion", False),
    ]  # fmt: skip
    assert "version 1 is the champion (rolled back)" in hook.got[-1]["verdict"]
    assert verify(project) == []
    run(["modelyard", "ledger", "tiny"], project)
    ledger = project / ".modelyard/ledger.jsonl"
    ledger.write_text(ledger.read_text().replace("refuse", "revere"))
    broken = run(["modelyard", "ledger"], project, check=False)
    assert broken.returncode == 2
    assert "line 2 was changed" in broken.stderr


def start_now(api: str) -> None:
    """Have the worker do now what it would do at the end of the year, as soon as it offers it."""
    with prefect_client(api) as client:

        def offered() -> dict[str, Any] | None:
            found = client.get("/deployments/name/retrain/tiny")
            return found.json() if found.is_success and found.json()["status"] == "READY" else None

        deployment = wait_until(offered, within_s=2 * PATIENCE_S, every_s=0.5)
        assert deployment is not None
        client.post(f"/deployments/{deployment['id']}/create_flow_run", json={}).raise_for_status()


@pytest.mark.long
@pytest.mark.timeout(900)
def test_worker_that_was_killed_leaves_nothing_running_and_the_next_one_goes_on(
    project: Path, prefect_api: str, hook: Hook
) -> None:
    write_rows(project / "data/rows.csv", tiny_rows(280))
    edit(project, "tiny.schedule", A_YEAR)
    edit(project, "tiny.finetune.epochs", 5000)
    edit(project, "tiny.finetune.early_stopping.patience", 5000)
    with at_work(["modelyard", "worker"], project, PREFECT_API_URL=prefect_api) as worker:
        start_now(prefect_api)
        stage = stage_process("finetune", project, within_s=5 * PATIENCE_S)
        worker.kill()
        stage.wait(timeout=2 * PATIENCE_S)
    # the run, which ends with its worker, tells of it itself, or else the next worker does; once in any case
    edit(project, "tiny.finetune.epochs", 6)
    with at_work(["modelyard", "worker"], project, PREFECT_API_URL=prefect_api):
        start_now(prefect_api)
        wait_until(lambda: champion(project) == 2, within_s=8 * PATIENCE_S, every_s=1)
        wait_until(lambda: "promotion" in hook.events)  # the run says so last
        time.sleep(1)
    assert hook.events == ["crash", "promotion"]
    assert hook.got[0]["verdict"] == "the process of its run was killed; the next run carries on"
    assert hook.got[0]["run_id"] != hook.got[1]["run_id"] != ""
    with prefect_client(prefect_api) as client:
        runs = client.post("/flow_runs/filter", json={"sort": "START_TIME_DESC", "limit": 20}).json()
    begun = [run["state_type"] for run in runs if run["start_time"]][:4]  # the coming ones are written ahead
    assert sorted(begun) == ["COMPLETED", "COMPLETED", "CRASHED", "CRASHED"]
    with sqlite3.connect(project / "mlflow.db") as store:
        assert store.execute("SELECT count(*) FROM runs WHERE status = 'RUNNING'").fetchone() == (0,)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_worker_of_a_pool_runs_what_was_deployed_there(project: Path, prefect_api: str, tmp_path: Path) -> None:
    edit(project, "tiny.package.num_golden", 10)  # the same model in another bundle
    for section in ("tiny", "tiny.monitoring"):
        edit(project, f"{section}.schedule", A_YEAR)
    extra = {"PREFECT_API_URL": prefect_api, "PREFECT_HOME": str(tmp_path / "prefect")}
    run(["prefect", "work-pool", "create", "team", "--type", "process"], tmp_path, **extra)
    run(["modelyard", "deploy", "team"], project, **extra)
    with at_work(["prefect", "worker", "start", "--pool", "team"], tmp_path, **extra):
        retrained, monitored = (
            run(["prefect", "deployment", "run", f"{flow}/tiny-team", "--watch"], tmp_path, **extra).stdout
            for flow in ("retrain", "monitor")
        )
    assert "finished successfully in 'Completed'" in retrained
    assert champion(project) == 2
    assert [entry["through"] for entry in entries(project, "tiny")] == ["registry", "retrain, schedule"]
    assert "finished successfully in 'Nothing new'" in monitored  # nobody asked it anything


@pytest.mark.long
@pytest.mark.timeout(900)
def test_run_over_its_limit_is_stopped_and_the_champion_stays(project: Path, prefect_api: str, hook: Hook) -> None:
    edit(project, "tiny.finetune.epochs", 5000)
    edit(project, "tiny.finetune.early_stopping.patience", 5000)
    done = run(["modelyard", "retrain", "tiny", "--limit", "20"], project, check=False, PREFECT_API_URL=prefect_api)
    assert done.returncode == 1
    assert "tiny: the run took longer than 20 s and was stopped" in done.stderr.splitlines()[-1]
    (told,) = hook.got
    assert (told["event"], told["where"]) == ("crash", "modelyard retrain tiny")
    assert "took longer than 20 s" in told["verdict"]
    assert "evaluate" not in done.stderr  # the stage itself was stopped, not only those after it
    listed = run(["modelyard", "ledger", "--json"], project)
    assert "refuse" not in listed.stdout
