"""A sweep for real: the same trials with any number of workers and after kills, runs in MLflow, the best applied."""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from mlflow.tracking import MlflowClient

from components.recipes import load_recipe
from components.tracking.place import tracking_uri
from tests.patience import PATIENCE_S, wait_until
from tests.projects import edit, environment, make_project, run

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

SPACE = {
    "finetune.optimizer.learning_rate": {"log": [1.0e-4, 1.0e-2]},
    "finetune.batch_size": [16, 32],
}
COMMAND = ["modelyard", "sweep", "tiny", "--json"]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose present settings learn nothing, so that something better is found."""
    folder = make_project(tmp_path_factory.mktemp("sweep") / "project")
    edit(folder, "tiny.finetune.optimizer.learning_rate", 1.0e-4)
    edit(folder, "tiny.evaluate.gate.min", 0.0)
    pruner = {"name": "asha", "first_epoch": 1, "factor": 3}
    edit(folder, "tiny.sweep", {"space": SPACE, "trials": 9, "objective": "validation_accuracy", "pruner": pruner})
    edit(folder, "tiny.sweep.workers", 1)
    return folder


@pytest.fixture(scope="module")
def found(project: Path) -> dict[str, Any]:
    """What the sweep found, with one worker and no kill."""
    return json.loads(run(COMMAND, project).stdout)


def trials_of(found: dict[str, Any]) -> list[Any]:
    return [[one["number"], one["state"], one["value"], one["settings"]] for one in found["trials"]]


def begun_anew(project: Path, *, workers: int) -> Path:
    shutil.rmtree(project / ".modelyard/sweeps")
    edit(project, "tiny.sweep.workers", workers)
    return project


def workers_of(project: Path) -> list[psutil.Process]:
    return [
        process for process in psutil.process_iter(["cmdline"])
        if "flows.sweep.trials.worker" in (process.info["cmdline"] or []) and str(project) in process.info["cmdline"]
    ]  # fmt: skip


def test_something_better_is_found_and_told(project: Path, found: dict[str, Any]) -> None:
    assert len(found["trials"]) == 9
    assert found["failed"] == 0
    best = found["trials"][found["best"]["number"]]
    assert best["value"] == max(one["value"] for one in found["trials"] if one["state"] == "done") > found["present"]
    assert found["verdict"]["gain"] > 0
    assert found["verdict"]["gain_low"] <= found["verdict"]["gain"] <= found["verdict"]["gain_high"]
    page = Path(found["report"]).read_text(encoding="utf-8")
    assert "tiny" in page


def test_each_trial_is_a_run_below_the_sweep_s(project: Path, found: dict[str, Any]) -> None:
    client = MlflowClient(tracking_uri(project))
    sweep = client.get_run(found["run_id"])
    assert sweep.info.status == "FINISHED"
    children = client.search_runs(
        [sweep.info.experiment_id], f"tags.`mlflow.parentRunId` = '{found['run_id']}'", max_results=100
    )
    by_id = {child.info.run_id: child for child in children}
    assert by_id.keys() == {one["run_id"] for one in found["trials"]}
    for one in found["trials"]:
        child = by_id[one["run_id"]]
        assert child.data.tags["modelyard.state"] == one["state"]
        assert {name: type(value)(child.data.params[name]) for name, value in one["settings"].items()} == one[
            "settings"
        ]
        assert client.get_metric_history(one["run_id"], "validation_accuracy")
    assert {path.path for path in client.list_artifacts(found["run_id"])} >= {"report.html", "history.png"}


def test_sweep_that_is_over_costs_nothing(project: Path, found: dict[str, Any]) -> None:
    files = sorted((project / ".modelyard/sweeps").rglob("result.json"))
    before = [path.stat().st_mtime_ns for path in files]
    again = run(COMMAND, project)
    assert json.loads(again.stdout) == found
    assert [path.stat().st_mtime_ns for path in files] == before
    assert "the present settings first" not in again.stderr  # which need no Prefect then


def test_more_trials_carry_the_same_study_on(project: Path, found: dict[str, Any]) -> None:
    edit(project, "tiny.sweep.trials", 10)
    more = json.loads(run(COMMAND, project).stdout)
    edit(project, "tiny.sweep.trials", 9)
    assert trials_of(more)[:9] == trials_of(found)
    assert len(more["trials"]) == 10


@pytest.mark.parametrize(("workers", "seed"), [(4, 1), (2, 2)])
def test_same_trials_with_more_workers_and_after_kills(
    project: Path, found: dict[str, Any], workers: int, seed: int
) -> None:
    chance, folder = random.Random(seed), begun_anew(project, workers=workers)
    for _ in range(3):
        sweep = subprocess.Popen(COMMAND, cwd=folder, env=environment(), stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL)  # fmt: skip
        wait_until((folder / ".modelyard/sweeps").is_dir, within_s=2 * PATIENCE_S)
        time.sleep(chance.uniform(1, 12))
        sweep.kill()
        sweep.wait()
    again = json.loads(run(COMMAND, folder).stdout)
    assert trials_of(again) == trials_of(found)
    wait_until(lambda: not workers_of(folder))


def test_interrupt_ends_the_workers_and_the_run(project: Path, found: dict[str, Any]) -> None:
    folder = begun_anew(project, workers=2)
    sweep = subprocess.Popen(COMMAND, cwd=folder, env=environment(), stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)  # fmt: skip
    wait_until(lambda: workers_of(folder), within_s=2 * PATIENCE_S)
    sweep.send_signal(signal.SIGINT)
    assert sweep.wait(2 * PATIENCE_S) == 130
    assert not workers_of(folder)
    assert trials_of(json.loads(run(COMMAND, folder).stdout)) == trials_of(found)


def test_worker_that_is_killed_is_a_failed_trial_and_the_sweep_goes_on(project: Path, found: dict[str, Any]) -> None:
    del found
    folder = begun_anew(project, workers=1)
    recipe: Any = load_recipe(folder, "tiny")
    epochs = recipe.finetune.epochs
    edit(folder, "tiny.finetune.epochs", 60)  # long enough to be met while it trains
    sweep = subprocess.Popen(COMMAND, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                             text=True)  # fmt: skip
    worker = wait_until(lambda: workers_of(folder), within_s=2 * PATIENCE_S)[0]
    wait_until(lambda: list((folder / ".modelyard/sweeps").rglob("0001/curve.json")), within_s=2 * PATIENCE_S)
    with_no_time_to_say_anything = signal.SIGKILL
    os.kill(worker.pid, with_no_time_to_say_anything)
    told = json.loads(sweep.communicate(timeout=300)[0])
    edit(folder, "tiny.finetune.epochs", epochs)
    failed = [one for one in told["trials"] if one["state"] == "failed"]
    assert [one["reason"] for one in failed] == [
        "its process was killed (signal 9), as the kernel does where memory runs out"
    ]
    assert len(told["trials"]) == 9


def test_best_is_written_into_params_and_runs(project: Path, found: dict[str, Any]) -> None:
    begun_anew(project, workers=1)
    before = (project / "params.yaml").read_text(encoding="utf-8").splitlines()
    told = json.loads(run([*COMMAND, "--apply"], project).stdout)
    after = (project / "params.yaml").read_text(encoding="utf-8").splitlines()
    changed = [line for line, old in zip(after, before, strict=True) if line != old]
    assert len(changed) == len(found["best"]["changes"])
    assert told["change"].count("\n+") == len(changed) + 1  # and the head
    run(["modelyard", "run", "tiny", "--until", "finetune"], project)


def test_several_objectives_and_constraints_with_a_kill_in_between(project: Path) -> None:
    kept = (project / "params.yaml").read_text(encoding="utf-8")
    objective = ["validation_accuracy", "speedup", "size_bytes"]
    section = {"space": SPACE, "trials": 4, "wave": 2, "workers": 2, "objective": objective, "sampler": "random"}
    edit(project, "tiny.sweep", section)
    sweep = subprocess.Popen(COMMAND, cwd=project, env=environment(), stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)  # fmt: skip

    def timed() -> dict[str, Any]:
        results = [json.loads(path.read_text()) for path in (project / ".modelyard/sweeps").rglob("result.json")]
        return {one["number"]: one["figures"] for one in results if one["number"] and "speedup" in one["figures"]}

    wait_until(timed, within_s=8 * PATIENCE_S)
    sweep.kill()
    sweep.wait()
    before = timed()
    found = json.loads(run(COMMAND, project).stdout)
    assert [one["state"] for one in found["trials"]] == ["done"] * 4
    assert {number: found["trials"][number]["figures"] for number in before} == before  # none was timed again
    assert found["trials"][0]["figures"]["speedup"] == 1
    assert found["best"]["number"] == found["front"][0]
    assert (Path(found["report"]).parent / "pareto.png").is_file()
    edit(project, "tiny.sweep", section | {"trials": 1, "constraints": {"size_bytes": {"max": 1.0}}})
    done = run(COMMAND, project, check=False)
    (project / "params.yaml").write_text(kept, encoding="utf-8")
    assert done.returncode == 3
    assert "no trial is within the constraints; the nearest is trial 0: size_bytes" in done.stderr
    told = json.loads(done.stdout)
    assert (told["best"], told["front"]) == (None, [])


@pytest.mark.parametrize(
    ("section", "said"),
    [
        (None, "has no section 'sweep'"),
        ({"space": {"finetune.batch_sise": [16]}, "trials": 3}, "did you mean 'finetune.batch_size'"),
        ({"space": SPACE, "trials": 3, "objective": "validation_f2"}, "which this training does not measure"),
        (
            {"space": SPACE, "trials": 3, "objective": ["speedup", "tokens_per_s"]},
            "which this training does not measure",
        ),
        ({"space": SPACE, "trials": 0}, "greater than or equal to 1"),
    ],
)
def test_fault_is_one_line(project: Path, section: dict[str, Any] | None, said: str) -> None:
    kept = (project / "params.yaml").read_text(encoding="utf-8")
    try:
        edit(project, "tiny.sweep", section)
        done = run(["modelyard", "sweep", "tiny"], project, check=False)
    finally:
        (project / "params.yaml").write_text(kept, encoding="utf-8")
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
