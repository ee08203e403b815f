"""One tiny recipe through all eight stages, by the flow and by `dvc repro`."""

import csv
import json
import shutil
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient
from ruamel.yaml import YAML

from components.recipes import stages
from components.tracking.store import Store
from tests.patience import PATIENCE_S
from tests.prefect_client import found_by_prefect
from tests.processes import at_work, stage_process
from tests.projects import edit, git_commit, make_project, run

pytestmark = pytest.mark.long  # each driver goes through every stage

COMMANDS = {"modelyard": ("modelyard", "run", "tiny"), "dvc": ("dvc", "repro")}
TAKEN = {"modelyard": "from DVC's cache", "dvc": "is cached - skipping run"}
"""What each driver says of a stage whose outputs come from DVC's run cache."""
SPLIT = "CASE WHEN contains(text, 'city') OR contains(text, 'train') THEN 'test' ELSE 'train' END"
AFTER_A_LEARNING_RATE = ("finetune", "evaluate", "compress", "package")


@pytest.fixture(scope="module")
def by_flow(tmp_path_factory: pytest.TempPathFactory, prefect_api: str) -> Path:
    folder = with_given_split(make_project(tmp_path_factory.mktemp("flow") / "project"))
    modelyard(folder, prefect_api, "run", "tiny")
    return folder


@pytest.fixture(scope="module")
def by_dvc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = with_given_split(make_project(tmp_path_factory.mktemp("dvc") / "project"))
    run(["dvc", "repro"], folder)
    return folder


def with_given_split(folder: Path) -> Path:
    """Have the recipe take a test split that its rows say; gives `folder`."""
    edit(folder, "tiny.ingest.query", f"SELECT text, label, {SPLIT} AS split FROM source")
    edit(folder, "tiny.preprocess.split.column", "split")
    edit(folder, "tiny.preprocess.split.test", None)
    run([*git_commit("given"), "-a"], folder)
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


def test_both_drivers_leave_the_same_lock_and_no_checkpoint(by_flow: Path, by_dvc: Path) -> None:
    assert (by_flow / "dvc.lock").read_bytes() == (by_dvc / "dvc.lock").read_bytes()
    assert [path for folder in (by_flow, by_dvc) for path in (folder / "checkpoints").rglob("*.*")] == []


def test_test_split_is_the_given_one(by_flow: Path) -> None:
    with (by_flow / "data/rows.csv").open(encoding="utf-8") as file:
        given = {row["text"] for row in csv.DictReader(file) if "city" in row["text"] or "train" in row["text"]}
    artifacts = by_flow / "artifacts/tiny"
    assert set(pq.read_table(artifacts / "preprocess/test.parquet")["text"].to_pylist()) == given
    assert "test split, which the column `split` of the rows gives. On" in (
        artifacts / "package/bundle/card.md"
    ).read_text(encoding="utf-8")


def test_both_drivers_leave_the_same_shape_of_runs(by_flow: Path, by_dvc: Path) -> None:
    shape = shape_of_runs(by_dvc)
    assert [entry[0] for entry in shape] == sorted(["ingest to package", *stages()])
    assert shape == shape_of_runs(by_flow)


@pytest.mark.parametrize("driver", ["by_flow", "by_dvc"])
def test_pipeline_run_has_what_one_compares(driver: str, request: pytest.FixtureRequest) -> None:
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
    assert (data.name, data.digest) == ("tiny", locked_rows(folder))
    (model,) = store.client.get_run(run.info.run_id).outputs.model_outputs
    assert store.client.get_model_version_by_alias("tiny", "champion").tags["modelyard.model_id"] == model.model_id
    for stage in stages():
        (child,) = store.search(f"tags.`modelyard.stage` = '{stage}'")
        assert f"runs/{child.info.run_id}?workflowType=machine_learning)" in tags["mlflow.note.content"]
        assert child.data.metrics["system/cpu_utilization_percentage"] >= 0


def locked_rows(folder: Path) -> str:
    """The digest that dvc.lock has of the rows."""
    outs = YAML(typ="safe").load(folder / "dvc.lock")["stages"]["ingest@tiny"]["outs"]
    return next(out["md5"] for out in outs if out["path"].endswith("ingest/data.parquet"))


def test_flow_run_shows_epochs_figures_and_where_the_rest_is(by_flow: Path, prefect_api: str) -> None:
    client = MlflowClient(f"sqlite:///{by_flow / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.`modelyard.stage` = 'ingest'")
    pipeline_run = runs[-1].data.tags["mlflow.parentRunId"]

    def artifacts(**wanted: str) -> list[dict]:
        asked = {"limit": 200, "artifacts": {name: {"any_": [value]} for name, value in wanted.items()}}
        return found_by_prefect(prefect_api, "artifacts", asked)

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


def test_model_is_registered_as_champion_with_its_bundle(by_flow: Path) -> None:
    client = MlflowClient(f"sqlite:///{by_flow / 'mlflow.db'}")
    version = client.get_model_version_by_alias("tiny", "champion")
    report = json.loads((by_flow / "artifacts/tiny/package/report.json").read_text())
    assert report["tag"] == f"tiny:{report['digest'][:12]}-{report['build'][:12]}"
    assert version.tags["digest"] == report["digest"]
    assert json.loads(version.tags["modelyard.build"])["digest"] == report["build"]


def test_second_packaging_of_the_same_makes_the_same_bundle(tmp_path: Path, by_flow: Path, prefect_api: str) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(by_flow, folder, symlinks=True)
    first = json.loads((folder / "artifacts/tiny/package/report.json").read_text())
    outcome = modelyard(folder, prefect_api, "run", "tiny", "--force", "package")
    assert states(outcome)["package"] == "ran"
    assert outcome["reports"]["package"]["digest"] == first["digest"]


def test_nothing_changed_means_nothing_runs(by_flow: Path, prefect_api: str) -> None:
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


def test_deleted_artifacts_come_from_the_cache(tmp_path: Path, by_flow: Path, prefect_api: str) -> None:
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


def test_deleted_artifacts_come_back_by_dvc_repro_without_running_a_stage(tmp_path: Path, by_dvc: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(by_dvc, folder, symlinks=True)
    before, lock, runs = files_of(folder), (folder / "dvc.lock").read_bytes(), shape_of_runs(folder)
    shutil.rmtree(folder / "artifacts")
    said = run(["dvc", "repro"], folder).stdout
    assert said.count(TAKEN["dvc"]) == len(stages()), said
    assert "Running stage" not in said
    del before["tiny/champion.json"]  # which no stage makes: it is noted from the registry when a stage next runs
    assert files_of(folder) == before
    assert (folder / "dvc.lock").read_bytes() == lock
    assert shape_of_runs(folder) == runs


@pytest.mark.parametrize("driver", ["modelyard", "dvc"])
def test_value_that_is_set_back_runs_nothing(driver: str, tmp_path: Path, by_flow: Path, prefect_api: str) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(by_flow, folder, symlinks=True)
    before, lock = files_of(folder), (folder / "dvc.lock").read_bytes()

    def again() -> str:
        return run([*COMMANDS[driver]], folder, PREFECT_API_URL=prefect_api).stdout

    edit(folder, "tiny.finetune.optimizer.learning_rate", 0.002)
    again()
    other = files_of(folder)
    assert other["tiny/finetune/model/model.safetensors"] != before["tiny/finetune/model/model.safetensors"]
    edit(folder, "tiny.finetune.optimizer.learning_rate", 0.003)
    reasons = {one["stage"]: one for one in modelyard(folder, prefect_api, "why", "tiny")["stages"]}
    assert reasons["finetune"]["would_restore"]
    assert not reasons["finetune"]["would_run"]
    said = again()
    assert said.count(TAKEN[driver]) >= len(AFTER_A_LEARNING_RATE), said
    assert files_of(folder) == before
    assert (folder / "dvc.lock").read_bytes() == lock
    ran = [run[0] for run in shape_of_runs(folder) if run[0] in stages()]
    assert Counter(ran) == Counter([*stages(), *AFTER_A_LEARNING_RATE])


def test_experiment_that_is_applied_runs_nothing(tmp_path: Path, by_dvc: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(by_dvc, folder, symlinks=True)
    run(["git", "add", "dvc.lock"], folder)
    run(git_commit("Run tiny"), folder)
    run(["dvc", "exp", "run", "-n", "other", "-S", "recipes.tiny.compress.num_latency_rows=21"], folder)
    other = files_of(folder)
    run(["git", "checkout", "-q", "params.yaml", "dvc.lock"], folder)
    run(["dvc", "checkout", "-q"], folder)
    run(["dvc", "exp", "apply", "other"], folder)
    assert "Running stage" not in run(["dvc", "repro"], folder).stdout
    assert files_of(folder) == other


def test_another_champion_makes_what_starts_from_it_run_again(tmp_path: Path, by_flow: Path, prefect_api: str) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(by_flow, folder, symlinks=True)
    edit(folder, "tiny.preprocess.tokenizer", "champion")
    edit(folder, "tiny.pretrain.source", "champion")
    done = run(["modelyard", "run", "tiny"], folder, check=False, PREFECT_API_URL=prefect_api)
    assert done.returncode == 2
    assert "write 'champion: artifacts/tiny/champion.json'" in done.stderr
    edit(folder, "tiny.champion", "artifacts/tiny/champion.json")
    outcome = modelyard(folder, prefect_api, "run", "tiny")
    assert states(outcome) | {"ingest": "cached", "validate": "cached"} == states(outcome)
    assert {states(outcome)[stage] for stage in ("preprocess", "pretrain", "finetune")} == {"ran"}
    assert set(states(modelyard(folder, prefect_api, "run", "tiny")).values()) == {"cached"}

    run(["modelyard", "promote", "tiny", "--force", "to start from it"], folder)
    (changed,) = json.loads(run(["dvc", "status", "--json", "pretrain@tiny"], folder).stdout)["pretrain@tiny"]
    assert changed["changed deps"] == {"artifacts/tiny/champion.json": "modified"}
    reasons = {one["stage"]: one for one in modelyard(folder, prefect_api, "why", "tiny")["stages"]}
    assert "artifacts/tiny/champion.json is modified" in reasons["preprocess"]["causes"]
    run(["modelyard", "rollback", "tiny"], folder)
    assert set(states(modelyard(folder, prefect_api, "run", "tiny")).values()) == {"cached"}


def test_failed_gate_of_dvc_repro_leaves_the_last_good_artifact(tmp_path: Path, by_dvc: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(by_dvc, folder, symlinks=True)
    before, lock = files_of(folder), (folder / "dvc.lock").read_bytes()
    edit(folder, "tiny.evaluate.gate.min", 2.0)
    done = run(["dvc", "repro"], folder, check=False)
    assert done.returncode != 0
    assert "evaluate@tiny: its last good artifact is in place again" in done.stderr + done.stdout
    assert files_of(folder) == before
    assert (folder / "dvc.lock").read_bytes() == lock


def test_artifact_of_a_killed_stage_is_back_at_the_next_command(tmp_path: Path, by_dvc: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(by_dvc, folder, symlinks=True)
    before = files_of(folder)
    edit(folder, "tiny.finetune.epochs", 5000)
    edit(folder, "tiny.finetune.early_stopping.patience", 5000)
    with at_work(["dvc", "repro"], folder) as process:
        stage = stage_process("finetune", folder)
        assert not (folder / "artifacts/tiny/finetune/files.json").exists()  # DVC took it away
        process.kill()
        stage.kill()
        process.communicate(timeout=2 * PATIENCE_S)
    done = run(["modelyard", "recipes"], folder)
    assert "finetune@tiny: its last good artifact is in place again" in done.stderr
    assert files_of(folder) == before


def test_damaged_object_of_the_cache_is_not_brought_back(tmp_path: Path, by_dvc: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(by_dvc, folder, symlinks=True)
    (folder / "artifacts/tiny/evaluate/report.json").unlink()
    outs = YAML(typ="safe").load(folder / "dvc.lock")["stages"]["evaluate@tiny"]["outs"]
    (md5,) = [out["md5"] for out in outs if out["path"].endswith("report.json")]
    kept = folder / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
    kept.chmod(0o644)
    kept.write_bytes(kept.read_bytes().replace(b"0", b"1", 1))
    run(["modelyard", "recipes"], folder)
    assert not (folder / "artifacts/tiny/evaluate/report.json").exists()


def test_name_of_a_recipe_is_no_command(tmp_path: Path, by_dvc: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(by_dvc, folder, symlinks=True)
    params = folder / "params.yaml"
    params.write_text(params.read_text().replace("  tiny:", "  x$(touch PWNED)`touch PWNED`'\";touch PWNED;:"))
    done = run(["dvc", "repro"], folder, check=False)
    assert done.returncode != 0
    assert "is no name of a recipe: a name is lower-case letters" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not (folder / "PWNED").exists()


def test_one_value_runs_just_its_stage_and_those_after(tmp_path: Path, by_flow: Path, prefect_api: str) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(by_flow, folder, symlinks=True)
    edit(folder, "tiny.compress.num_latency_rows", 21)
    reasons = {reason["stage"]: reason for reason in modelyard(folder, prefect_api, "why", "tiny")["stages"]}
    assert [stage for stage, reason in reasons.items() if reason["would_run"]] == ["compress", "package"]
    assert "recipes.tiny.compress.num_latency_rows: 20 → 21" in reasons["compress"]["causes"]
    outcome = modelyard(folder, prefect_api, "run", "tiny")
    ran = {stage for stage, state in states(outcome).items() if state == "ran"}
    assert {"compress"} <= ran <= {"compress", "package"}  # the same model again needs no new bundle


def test_pull_brings_a_fresh_clone_up_to_date_without_training(tmp_path: Path, by_dvc: Path) -> None:
    run(["dvc", "remote", "add", "-d", "backup", str(tmp_path / "remote")], by_dvc)
    run(["dvc", "push", "-q"], by_dvc)
    run(["git", "add", "-A"], by_dvc)
    run(git_commit("run"), by_dvc)
    clone = tmp_path / "clone"
    run(["git", "clone", "-q", str(by_dvc), str(clone)], tmp_path)
    run(["dvc", "pull", "-q"], clone)
    assert "up to date" in run(["dvc", "status"], clone).stdout
    assert (clone / "artifacts/tiny/package/bundle/manifest.json").is_file()

    # Nothing that reads the rows runs in the clone's store.
    edit(clone, "tiny.evaluate.gate.min", 0.79)
    run(["dvc", "repro", "evaluate@tiny"], clone)
    assert [name for name, *_ in shape_of_runs(clone)] == ["evaluate", "evaluate alone"]
    (made,) = Store(clone, "tiny").search("tags.`modelyard.stage` = 'pipeline'")
    (data,) = [one.dataset for one in made.inputs.dataset_inputs]
    num_rows = json.loads((clone / "artifacts/tiny/ingest/report.json").read_text())["num_rows"]
    assert (data.name, data.digest) == ("tiny", locked_rows(clone))
    assert json.loads(data.profile) == {"num_rows": num_rows}


def test_artifacts_hold_no_trace_of_the_machine(by_flow: Path) -> None:
    texts = [p for p in (by_flow / "artifacts").rglob("*") if p.suffix in (".json", ".csv", ".md", ".yaml")]
    assert texts
    for path in texts:
        assert str(by_flow) not in path.read_text(encoding="utf-8"), path


def test_lock_lists_every_stage_in_order(by_dvc: Path) -> None:
    locked = YAML(typ="safe").load(by_dvc / "dvc.lock")["stages"]
    assert list(locked) == [f"{stage}@tiny" for stage in stages()]
