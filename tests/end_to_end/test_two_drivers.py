"""One tiny recipe through all eight stages, by the flow and by `dvc repro`."""

import json
import shutil
from collections import Counter
from pathlib import Path

import httpx
import pytest
from mlflow import MlflowClient
from ruamel.yaml import YAML

from components.recipes import stages
from components.store import Store
from tests.projects import edit, git_commit, make_project, run


@pytest.fixture(scope="module")
def by_flow(tmp_path_factory, prefect_api) -> Path:
    folder = make_project(tmp_path_factory.mktemp("flow") / "project")
    modelyard(folder, prefect_api, "run", "tiny")
    return folder


@pytest.fixture(scope="module")
def by_dvc(tmp_path_factory) -> Path:
    folder = make_project(tmp_path_factory.mktemp("dvc") / "project")
    run(["dvc", "repro"], folder)
    return folder


def modelyard(folder: Path, prefect_api: str, *words: str) -> dict:
    done = run(["modelyard", *words, "--json"], folder, PREFECT_API_URL=prefect_api)
    return json.loads(done.stdout)


def states(outcome: dict) -> dict[str, str]:
    return {stage["stage"]: stage["state"] for stage in outcome["stages"]}


def shape_of_runs(folder: Path) -> list[tuple]:
    """What MLflow holds, without ids and times."""
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    parents = {run.info.run_id for run in runs if "mlflow.parentRunId" not in run.data.tags}
    return sorted(
        (
            run.info.run_name,
            run.info.status,
            run.data.tags.get("mlflow.parentRunId") in parents,
            tuple(sorted(run.data.params)),
            tuple(sorted(name for name in run.data.metrics if not name.startswith("system/gpu"))),
            tuple(sorted(file.path for file in client.list_artifacts(run.info.run_id))),
            tuple(sorted((i.dataset.name, i.dataset.digest) for i in run.inputs.dataset_inputs)),
            len(getattr(client.get_run(run.info.run_id).outputs, "model_outputs", ())),
        )
        for run in runs
    )


def test_both_drivers_leave_the_same_lock(by_flow, by_dvc):
    assert (by_flow / "dvc.lock").read_bytes() == (by_dvc / "dvc.lock").read_bytes()


def test_both_drivers_leave_the_same_shape_of_runs(by_flow, by_dvc):
    shape = shape_of_runs(by_dvc)
    assert [entry[0] for entry in shape] == sorted(["ingest to package", *stages()])
    assert shape == shape_of_runs(by_flow)


@pytest.mark.parametrize("driver", ["by_flow", "by_dvc"])
def test_pipeline_run_has_what_one_compares(driver, request):
    folder = request.getfixturevalue(driver)
    store = Store(folder, "tiny")
    (run,) = store.search("tags.`modelyard.stage` = 'pipeline'")
    report, compressed = (json.loads((folder / f"artifacts/tiny/{stage}/report.json").read_text())
                          for stage in ("evaluate", "compress"))  # fmt: skip
    figures = run.data.metrics
    for name in ("accuracy", "accuracy_low", "accuracy_high", "baseline_accuracy", "gain"):
        assert figures[name] == report[name]
    assert figures["served_accuracy"] == compressed["quality"]
    assert figures["served_size_ratio"] == compressed["size_ratio"]
    assert figures["served_speedup"] > 0
    settings = run.data.params
    assert settings["finetune.optimizer.learning_rate"] == "0.003"
    assert (settings["finetune.batch_size"], settings["finetune.way.name"], settings["pretrain.mode"]) == (
        "16", "full", "load",
    )  # fmt: skip
    assert settings["compress.chosen"].startswith(("int8", "pruned_int8"))
    assert not [name for name in settings if name.startswith(("ingest", "evaluate", "compress.gate"))]
    tags = run.data.tags
    packaged = json.loads((folder / "artifacts/tiny/package/report.json").read_text())
    assert tags["modelyard.bundle"] == packaged["tag"]
    assert tags["mlflow.source.git.commit"]
    assert tags["mlflow.source.name"] == {"by_flow": "modelyard run tiny", "by_dvc": "dvc repro"}[driver]
    (data,) = [one.dataset for one in run.inputs.dataset_inputs]
    locked = YAML(typ="safe").load(folder / "dvc.lock")["stages"]["ingest@tiny"]["outs"]
    assert (data.name, data.digest) in {("tiny", out["md5"]) for out in locked if out["path"].endswith("data.parquet")}
    (model,) = store.client.get_run(run.info.run_id).outputs.model_outputs
    assert store.client.get_model_version_by_alias("tiny", "champion").tags["modelyard.model_id"] == model.model_id
    for stage in stages():
        (child,) = store.search(f"tags.`modelyard.stage` = '{stage}'")
        assert f"runs/{child.info.run_id})" in tags["mlflow.note.content"]
        assert child.data.metrics["system/cpu_utilization_percentage"] >= 0


def test_flow_run_shows_epochs_figures_and_where_the_rest_is(by_flow, prefect_api):
    client = MlflowClient(f"sqlite:///{by_flow / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.`modelyard.stage` = 'ingest'")
    pipeline_run = runs[-1].data.tags["mlflow.parentRunId"]

    def artifacts(**wanted: str) -> list[dict]:
        asked = {"limit": 200, "artifacts": {name: {"any_": [value]} for name, value in wanted.items()}}
        return httpx.post(f"{prefect_api}/artifacts/filter", json=asked).raise_for_status().json()

    (link,) = [one for one in artifacts(key="tiny-mlflow") if pipeline_run in one["data"]]
    assert "modelyard ui" in link["data"]
    shown = {one["key"]: one for one in artifacts(flow_run_id=link["flow_run_id"])}
    assert {f"tiny-{stage}" for stage in stages()} <= shown.keys()
    progress = shown["tiny-finetune-progress"]
    assert (progress["type"], progress["data"]) == ("progress", 100)
    assert "epoch 1 of " in progress["description"]
    assert progress["task_run_id"] == shown["tiny-finetune"]["task_run_id"]
    assert str(by_flow / "observations/tiny/validate/data_docs.html") in shown["tiny-validate"]["data"]
    assert "| accuracy |" in shown["tiny-evaluate"]["data"]
    assert not list((by_flow / ".modelyard/run/progress").iterdir())


def test_model_is_registered_as_champion_with_its_bundle(by_flow):
    client = MlflowClient(f"sqlite:///{by_flow / 'mlflow.db'}")
    version = client.get_model_version_by_alias("tiny", "champion")
    report = json.loads((by_flow / "artifacts/tiny/package/report.json").read_text())
    assert report["tag"].startswith("tiny:")
    assert version.tags["digest"].startswith(report["tag"].removeprefix("tiny:"))


def test_second_packaging_of_the_same_makes_the_same_bundle(tmp_path, by_flow, prefect_api):
    folder = tmp_path / "copy"
    shutil.copytree(by_flow, folder, symlinks=True)
    first = json.loads((folder / "artifacts/tiny/package/report.json").read_text())
    outcome = modelyard(folder, prefect_api, "run", "tiny", "--force", "package")
    assert states(outcome)["package"] == "ran"
    assert outcome["reports"]["package"]["digest"] == first["digest"]


def test_nothing_changed_means_nothing_runs(by_flow, prefect_api):
    before = shape_of_runs(by_flow)
    outcome = modelyard(by_flow, prefect_api, "run", "tiny")
    assert states(outcome) == dict.fromkeys(stages(), "cached")
    after = Counter(entry[0] for entry in shape_of_runs(by_flow))
    assert after == Counter(entry[0] for entry in before) + Counter(["nothing ran"])
    client = MlflowClient(f"sqlite:///{by_flow / 'mlflow.db'}")
    found = client.get_run(outcome["parent_run_id"]).data
    assert (found.tags["modelyard.ran"], found.metrics, found.params) == ("nothing", {}, {})
    tags = found.tags
    made_by = {client.get_run(tags[f"modelyard.cached.{stage}"]).info.run_name for stage in stages()}
    assert made_by == set(stages())


def files_of(folder: Path) -> dict[str, bytes]:
    artifacts = folder / "artifacts"
    return {str(path.relative_to(artifacts)): path.read_bytes() for path in artifacts.rglob("*") if path.is_file()}


def test_deleted_artifacts_come_from_the_cache(tmp_path, by_flow, prefect_api):
    folder = tmp_path / "copy"
    shutil.copytree(by_flow, folder, symlinks=True)
    before = files_of(folder)
    shutil.rmtree(folder / "artifacts")
    reasons = modelyard(folder, prefect_api, "why", "tiny")["stages"]
    assert [(one["would_run"], one["would_restore"]) for one in reasons] == [(False, True)] * len(stages())
    outcome = modelyard(folder, prefect_api, "run", "tiny")
    assert [stage["state"] for stage in outcome["stages"] if stage["is_restored"]] == ["cached"] * len(stages())
    assert files_of(folder) == before

    shutil.rmtree(folder / "artifacts/tiny/ingest")
    shutil.rmtree(folder / "artifacts/tiny/package")
    bundle = YAML(typ="safe").load(folder / "dvc.lock")["stages"]["package@tiny"]["outs"][0]["md5"]
    (folder / ".dvc/cache/files/md5" / bundle[:2] / bundle[2:]).unlink()
    reasons = {reason["stage"]: reason for reason in modelyard(folder, prefect_api, "why", "tiny")["stages"]}
    assert [name for name, reason in reasons.items() if reason["would_restore"]] == ["ingest"]
    assert [name for name, reason in reasons.items() if reason["would_run"]] == ["package"]
    done = run(["modelyard", "run", "tiny"], folder, PREFECT_API_URL=prefect_api)
    shown = {line.split()[0]: line for line in done.stdout.splitlines() if line.split()[:1] and line[0] != " "}
    assert "from DVC's cache" in shown["ingest"]
    assert "cached" in shown["finetune"]
    assert "ran" in shown["package"]
    assert files_of(folder) == before


def test_one_value_runs_just_its_stage_and_those_after(tmp_path, by_flow, prefect_api):
    folder = tmp_path / "copy"
    shutil.copytree(by_flow, folder, symlinks=True)
    edit(folder, "tiny.compress.num_latency_rows", 21)
    reasons = {reason["stage"]: reason for reason in modelyard(folder, prefect_api, "why", "tiny")["stages"]}
    assert [stage for stage, reason in reasons.items() if reason["would_run"]] == ["compress", "package"]
    assert "recipes.tiny.compress.num_latency_rows: 20 → 21" in reasons["compress"]["causes"]
    outcome = modelyard(folder, prefect_api, "run", "tiny")
    ran = {stage for stage, state in states(outcome).items() if state == "ran"}
    assert {"compress"} <= ran <= {"compress", "package"}  # the same model again needs no new bundle


def test_pull_brings_a_fresh_clone_up_to_date_without_training(tmp_path, by_dvc):
    run(["dvc", "remote", "add", "-d", "backup", str(tmp_path / "remote")], by_dvc)
    run(["dvc", "push", "-q"], by_dvc)
    run(["git", "add", "-A"], by_dvc)
    run(git_commit("run"), by_dvc)
    clone = tmp_path / "clone"
    run(["git", "clone", "-q", str(by_dvc), str(clone)], tmp_path)
    run(["dvc", "pull", "-q"], clone)
    assert "up to date" in run(["dvc", "status"], clone).stdout
    assert (clone / "artifacts/tiny/package/bundle/manifest.json").is_file()


def test_artifacts_hold_no_trace_of_the_machine(by_flow):
    texts = [p for p in (by_flow / "artifacts").rglob("*") if p.suffix in (".json", ".csv", ".md", ".yaml")]
    assert texts
    for path in texts:
        assert str(by_flow) not in path.read_text(encoding="utf-8"), path


def test_lock_lists_every_stage_in_order(by_dvc):
    locked = YAML(typ="safe").load(by_dvc / "dvc.lock")["stages"]
    assert list(locked) == [f"{stage}@tiny" for stage in stages()]
