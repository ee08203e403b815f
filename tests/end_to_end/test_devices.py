"""A recipe with two devices: by its own launcher under DVC, and by torchrun and accelerate launch."""

import csv
import json
import os
import shutil
import socket
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from tests.patience import PATIENCE_S, wait_until
from tests.processes import at_work, stage_process
from tests.projects import edit, make_project, run

TORCHRUN = ["torchrun", "--standalone", "--nproc-per-node", "2", "-m", "components"]
ACCELERATE = [
    "accelerate", "launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no",
    "--dynamo_backend", "no", "-m", "components",
]  # fmt: skip

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two devices are two cores"),
]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose model was fine-tuned on one device."""
    folder = make_project(tmp_path_factory.mktemp("devices") / "project")
    run(["dvc", "repro", "-q", "finetune@tiny"], folder)
    return folder


def losses(folder: Path) -> list[float]:
    with (folder / "artifacts/tiny/finetune/history.csv").open(encoding="utf-8") as file:
        return [float(row["train_loss"]) for row in csv.DictReader(file)]


def runs(folder: Path) -> list[Run]:
    """The runs of finetune, the last first."""
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], "tags.modelyard.stage = 'finetune'"))


def test_devices_make_nothing_run_again(project: Path) -> None:
    edit(project, "tiny.devices", 2)
    assert (
        run(["dvc", "status", "pretrain@tiny", "finetune@tiny"], project).stdout.strip()
        == "Data and pipelines are up to date."
    )


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_repro_trains_on_two_devices(parallel: str, project: Path) -> None:
    before = losses(project)
    edit(project, "tiny.devices", {"count": 2, "parallel": parallel})
    done = run(["dvc", "repro", "-f", "-s", "finetune@tiny"], project)
    assert f"with 1 threads by each of 2 processes ({parallel})" in done.stderr
    assert done.stderr.count("epoch 6 of 6") == 1
    found = losses(project)
    assert len(found) == len(before) == 6
    assert found[0] == pytest.approx(before[0], abs=0.01)  # of other draws of dropout
    last = runs(project)[0]
    assert last.info.status == "FINISHED"
    assert last.data.tags["modelyard.devices"] == f"2 {parallel}"
    assert last.data.metrics["report.num_steps" if "report.num_steps" in last.data.metrics else "num_steps"] == 90
    assert run(["dvc", "status", "finetune@tiny"], project).stdout.strip() == "Data and pipelines are up to date."


@pytest.mark.parametrize("launcher", [TORCHRUN, ACCELERATE], ids=["torchrun", "accelerate"])
def test_launchers_run_the_stage_and_dvc_takes_what_came_of_it(launcher: list[str], project: Path) -> None:
    edit(project, "tiny.devices", None)
    num_runs = len(runs(project))
    done = run([*launcher, "finetune", "tiny"], project)
    assert "by each of 2 processes (ddp)" in done.stderr
    assert len(runs(project)) == num_runs + 1
    run(["dvc", "commit", "-q", "-f", "finetune@tiny"], project)
    assert run(["dvc", "status", "finetune@tiny"], project).stdout.strip() == "Data and pipelines are up to date."


def test_two_nodes_train_together_and_the_first_alone_writes(project: Path, tmp_path: Path) -> None:
    edit(project, "tiny.devices", None)
    second = shutil.copytree(project, tmp_path / "second", symlinks=True)
    before, of_second, kept = losses(project), len(runs(second)), checkpoints(second)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
    nodes = ["torchrun", "--nnodes", "2", "--nproc-per-node", "1", "--master-addr", "127.0.0.1", "--master-port", port]
    stage = ["-m", "components", "finetune", "tiny"]
    with at_work([*nodes, "--node-rank", "1", *stage], second, GLOO_SOCKET_IFNAME="lo") as other:
        first = run([*nodes, "--node-rank", "0", *stage], project, GLOO_SOCKET_IFNAME="lo")
        said, _ = other.communicate(timeout=3 * PATIENCE_S)
    assert other.returncode == 0, said
    assert "by each of 2 processes (ddp)" in first.stderr
    assert "carrying on" not in first.stderr
    found = losses(project)
    assert len(found) == len(before)
    assert found[0] == pytest.approx(before[0], abs=0.01)  # of other draws of dropout
    assert runs(project)[0].data.tags["modelyard.devices"] == "2 ddp"
    assert len(runs(second)) == of_second
    assert checkpoints(second) <= kept
    run(["dvc", "commit", "-q", "-f", "finetune@tiny"], project)
    assert run(["dvc", "status", "finetune@tiny"], project).stdout.strip() == "Data and pipelines are up to date."


@pytest.mark.parametrize(
    ("devices", "stage", "said"),
    [
        (4, "finetune", "finetune@tiny: devices is 4, but the launcher started 2 processes: let it start 4 "),
        (None, "evaluate", "evaluate@tiny: it trains nothing, so one process is enough: start it without a launcher"),
    ],
)
def test_a_launcher_that_does_not_fit_is_refused_once(
    devices: int | None, stage: str, said: str, project: Path
) -> None:  # fmt: skip
    edit(project, "tiny.devices", devices)
    done = run([*TORCHRUN, stage, "tiny"], project, check=False)
    assert done.returncode
    assert done.stderr.count(said) == 1
    assert "interrupted" not in done.stderr


def test_more_devices_than_cores_are_refused(project: Path) -> None:
    edit(project, "tiny.devices", 4096)
    done = run(["python", "-m", "components", "finetune", "tiny"], project, check=False)
    assert done.returncode == 2
    assert "finetune@tiny: 4096 devices are asked for, but this machine has" in done.stderr


def test_a_port_in_use_is_told(project: Path) -> None:
    edit(project, "tiny.devices", None)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        given = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        done = run(["python", "-m", "components", "finetune", "tiny"], project, check=False, **given)
    assert done.returncode == 2
    assert f"the first of 2 ranks cannot listen at 127.0.0.1:{port}, since another process does" in done.stderr


def test_a_rank_that_is_killed_ends_the_stage_and_the_next_run_carries_on(project: Path) -> None:
    edit(project, "tiny.devices", 2)
    edit(project, "tiny.finetune.epochs", 400)
    edit(project, "tiny.finetune.early_stopping.patience", 400)
    before = checkpoints(project)
    with at_work(["dvc", "repro", "-s", "finetune@tiny"], project) as driver:
        launcher = stage_process("finetune", project)
        wait_until(lambda: checkpoints(project) - before, within_s=3 * PATIENCE_S)
        first, other = sorted(launcher.children(), key=lambda process: process.environ()["RANK"])
        other.kill()
        told, _ = driver.communicate(timeout=3 * PATIENCE_S)  # the first would wait for it for half an hour
    assert driver.returncode
    assert "finetune@tiny: rank 1 of 2 was killed by SIGKILL; run the same command again, and training carries" in told
    assert not first.is_running()
    assert runs(project)[0].info.status == "FAILED"
    edit(project, "tiny.devices", None)
    done = run(["dvc", "repro", "-s", "finetune@tiny"], project)
    assert "carrying on from step" in done.stderr
    assert len(losses(project)) == 400
    report = json.loads((project / "artifacts/tiny/finetune/report.json").read_text(encoding="utf-8"))
    assert report["num_steps"] == 400 * 15
    assert not [one for one in psutil.process_iter(["environ"]) if "MODELYARD_RANKS" in (one.info["environ"] or {})]


def checkpoints(project: Path) -> set[Path]:
    return set((project / "checkpoints").rglob("[0-9]*/checkpoint.json"))
