import json
import os
import platform
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Generator
from pathlib import Path

import psutil
import pytest

from components.plumbing.locks import clear_stale, hold
from components.tracking.store import Store
from flows.operate.doctor import EXTRAS, Check, examine, look_at_disk, look_at_exposed_servers, look_at_versions
from flows.pipeline.leftovers import clear_rwlock
from tests.projects import ROOT, edit, run


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("dvc.yaml", "params.yaml", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / ".dvc" / "tmp").mkdir(parents=True)
    run(["git", "init", "-q"], tmp_path)
    return tmp_path


@pytest.fixture
def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert not psutil.pid_exists(process.pid)
    return process.pid


@pytest.fixture
def listening() -> Generator[Callable[..., int]]:
    """Start a process that looks like a server of ours and listens on an address; gives its port."""
    started: list[subprocess.Popen[str]] = []

    def start(address: str, *words: str, **variables: str) -> int:
        server = f"s = socket.create_server(('{address}', 0)); print(s.getsockname()[1]); time.sleep(600)"
        code = f"import socket, time; {server}"
        process = subprocess.Popen(
            [sys.executable, "-u", "-c", code, *(words or ["mlflow"])], stdout=subprocess.PIPE, text=True,
            env=os.environ | variables,
        )  # fmt: skip
        started.append(process)
        assert process.stdout is not None
        return int(process.stdout.readline())

    yield start
    for process in started:
        process.kill()
        process.communicate()


def checks_of(project: Path) -> dict[str, Check]:
    return {check.name: check for check in examine(project)}


def test_healthy_project_has_no_fault(project: Path) -> None:
    checks = checks_of(project)
    assert {
        "python",
        "versions",
        "telemetry",
        "disk",
        "params.yaml",
        "dvc.yaml",
        "mlflow",
        "stale runs",
        "locks",
    } <= set(checks)
    assert [check for check in checks.values() if check.state == "fail"] == []
    assert all(check.mend for check in checks.values() if check.state != "ok")
    assert not (project / "mlflow.db").exists()  # to look is not to change


def test_fault_of_params_is_found_and_ends_the_command_with_1(project: Path) -> None:
    edit(project, "movie_sentiment.finetune.epochs", 0)
    done = run(["modelyard", "doctor", "--json"], project, check=False)
    assert done.returncode == 1
    report = json.loads(done.stdout)
    failed = [check for check in report["checks"] if check["state"] == "fail"]
    assert report["state"] == "fail"
    assert [check["name"] for check in failed] == ["params.yaml"]
    assert "recipes.movie_sentiment.finetune.epochs" in failed[0]["found"]
    shown = run(["modelyard", "doctor"], project, check=False).stdout
    assert "recipes.movie_sentiment.finetune.epochs" in shown
    assert "→ mend these keys" in shown


def test_other_and_missing_versions_are_named(project: Path) -> None:
    lock = project / "requirements.lock"
    lock.write_text("# ours\nclick==0.0.1\nno-such-package==1.0\ntorch==2.13.0\n", encoding="utf-8")
    (check,) = look_at_versions(project)
    assert check.state == "fail"
    assert "not installed: 'no-such-package'" in check.found
    assert "(locked: 0.0.1)" in check.found
    assert "torch" not in check.found
    lock.unlink()
    assert look_at_versions(project)[0].state == "warn"


def test_stages_that_are_not_in_both_files_are_named(project: Path) -> None:
    text = (project / "dvc.yaml").read_text(encoding="utf-8")
    (project / "dvc.yaml").write_text(text.replace("\n  pretrain:\n", "\n  pretraining:\n"), encoding="utf-8")
    check = checks_of(project)["dvc.yaml"]
    assert check.state == "fail"
    assert "'pretrain', 'pretraining'" in check.found


def test_telemetry_that_the_user_turned_on_is_named(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "false")
    check = checks_of(project)["telemetry"]
    assert (check.state, check.found) == ("warn", "your environment turns it on: MLFLOW_DISABLE_TELEMETRY=false")


def test_remote_whose_package_is_missing_is_named_with_the_extra(project: Path) -> None:
    assert checks_of(project)["remotes"].state == "ok"
    (project / ".dvc" / "config").write_text("['remote \"team\"']\n    url = s3://bucket/models\n")
    fault = checks_of(project)["remotes"]
    assert (fault.state, fault.mend) == ("fail", "pip install -c requirements.lock -e '.[s3]'")
    assert "s3://bucket/models" in fault.found
    (project / ".dvc" / "config").write_text("['remote \"team\"']\n    url = ../team\n")
    assert checks_of(project)["remotes"].state == "ok"


def test_each_scheme_has_its_extra() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for extra, module in EXTRAS.values():
        assert [need.split(">")[0] for need in extras[extra]] == [module.replace("_", "-")]


def test_little_disk_is_a_warning(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.operate.doctor.MIN_FREE_BYTES", 10**18)
    (check,) = look_at_disk(project)
    assert check.state == "warn"
    assert "dvc gc" in check.mend


def test_runs_whose_process_is_gone_are_stale(project: Path, dead_process: int) -> None:
    store = Store(project, "movie_sentiment")
    tags = {"modelyard.stage": "finetune", "modelyard.host": platform.node(), "modelyard.process": f"{dead_process}:1"}
    run_id = store.client.create_run(store.experiment_id, tags=tags).info.run_id
    check = checks_of(project)["stale runs"]
    assert check.state == "warn"
    assert f"finetune@movie_sentiment {run_id[:8]}" in check.found


def test_store_that_does_not_answer_is_a_fault(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")
    checks = checks_of(project)
    assert "http://127.0.0.1:1 cannot be reached" in checks["mlflow"].found
    assert "http://127.0.0.1:1/api does not answer" in checks["prefect"].found
    assert {checks["mlflow"].state, checks["prefect"].state} == {"fail"}


def test_locks_of_living_and_dead_processes(project: Path, dead_process: int) -> None:
    locks, rwlock, ours = project / ".modelyard" / "locks", project / ".dvc" / "tmp" / "rwlock", psutil.Process().pid
    locks.mkdir(parents=True)
    # A number says nothing: "reused" is not held, though a process has its number.
    for name, pid in (("dead", dead_process), ("reused", ours)):
        note = {"process": f"{pid}:0", "doing": f"modelyard run {name}", "since": time.time()}
        (locks / f"{name}.json").write_text(json.dumps(note), encoding="utf-8")
    rwlock.write_text(json.dumps({"write": {"a": {"pid": ours, "cmd": "dvc repro"}}, "read": {}}), encoding="utf-8")
    with hold(project, "living", doing="modelyard run living", wait=False):
        checks = checks_of(project)
    assert checks["locks"].found == f"held now: living: modelyard run living (process {ours})"
    assert checks["stale locks"].state == "warn"
    gone = ", ".join(map(str, sorted((ours, dead_process))))
    assert checks["stale locks"].found == f"notes of processes that are gone: {gone}"
    clear_stale(project)  # as the next run does
    assert "stale locks" not in checks_of(project)
    os.utime(rwlock, (0, 0))  # written before this process began: its number is another's
    assert checks_of(project)["stale locks"].found == f"notes of processes that are gone: {ours}"
    clear_rwlock(project)
    assert "stale locks" not in checks_of(project)
    assert json.loads(rwlock.read_text()) == {"read": {}, "write": {}}


def test_port_that_is_held_names_the_process(
    project: Path, listening: Callable[[str], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    port = listening("127.0.0.1")
    monkeypatch.setattr("flows.operate.doctor.PORTS", {"MLflow": (port, "modelyard ui --mlflow-port")})
    check = checks_of(project)[f"port {port}"]
    assert check.state == "warn"
    assert check.found.startswith("MLflow's port is held by python")
    assert "modelyard ui --mlflow-port" in check.mend


def test_server_that_others_can_reach_is_a_fault_unless_it_asks_who_is_there(
    project: Path, listening: Callable[..., int]
) -> None:
    inside, outside = listening("127.0.0.1"), listening("0.0.0.0")
    guarded = [
        listening("0.0.0.0", "mlflow", "server", "--app-name", "basic-auth"),
        listening("0.0.0.0", "prefect", PREFECT_SERVER_API_AUTH_STRING="admin:secret"),
    ]
    open_prefect = listening("0.0.0.0", "prefect")
    (check,) = look_at_exposed_servers(project)
    assert check.state == "fail"
    assert f"0.0.0.0:{outside}" in check.found
    assert f"0.0.0.0:{open_prefect}" in check.found
    assert not [port for port in (inside, *guarded) if f":{port}" in check.found]
    assert "secret" not in check.found


def test_setting_that_would_open_a_server_is_a_fault(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_SERVER_API_HOST", "0.0.0.0")
    (check,) = look_at_exposed_servers(project)
    assert (check.state, "PREFECT_SERVER_API_HOST=0.0.0.0" in check.found) == ("fail", True)
    monkeypatch.setenv("PREFECT_SERVER_API_AUTH_STRING", "admin:secret")
    monkeypatch.setenv("MLFLOW_HOST", "127.0.0.1")
    assert look_at_exposed_servers(project)[0].state == "ok"
    monkeypatch.setenv("MLFLOW_HOST", "0.0.0.0")
    (check,) = look_at_exposed_servers(project)
    assert (check.state, "MLFLOW_HOST=0.0.0.0" in check.found) == ("fail", True)


def test_folder_that_cannot_be_written_is_a_fault(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_HOME", "/proc/prefect")
    check = checks_of(project)["prefect home"]
    assert check.state == "fail"
    assert check.found.startswith("/proc: ")
