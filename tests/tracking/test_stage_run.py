import importlib.util
import json
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.plumbing.artifacts import Layout, digest_of, files_of, sha256_of, write_json, writing
from components.plumbing.errors import ArtifactError, InputError, QualityError, StoreError
from components.tracking.pipeline_run import PipelineRun
from components.tracking.registry import WEIGHTS_TAG, note_weights
from components.tracking.stage_run import PIPELINE_VARIABLE, stage_run
from components.tracking.store import Store, check_store, masked, stale_runs, tracking_uri
from components.tracking.tensorboard import VARIABLE
from serving.bundle import identify
from tests.tiny_bundles import finish_bundle, rebuild


@dataclass(frozen=True)
class Project:
    root: Path

    def make(self, stage: str, text: str = "rows") -> None:
        """Run a stage that writes one file."""
        folder = Layout(self.root, "tiny", stage).artifact
        with stage_run(self.root, "tiny", stage) as run:
            run.log_start({"a": {"b": 1}, "c": [1, 2]}, {"ingest/data.parquet": "0" * 32})
            run.log_metrics({"loss": 0.5}, step=1)
            run.log_picture(np.arange(6, dtype=np.uint8).reshape(2, 3), "samples/first.png")
            with writing(folder) as partial:
                (partial / "data.txt").write_text(text)
                write_json(partial / "report.json", {"num_rows": 3, "name": "x", "loss": 0.25})
            run.log_end(folder)

    @property
    def store(self) -> Store:
        return Store(self.root, "tiny")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv(PIPELINE_VARIABLE, "flow 1")
    return Project(tmp_path)


def named(project: Project) -> dict[str, list]:
    found: dict[str, list] = {}
    for run in project.store.search(""):
        found.setdefault(run.info.run_name, []).append(run)
    return found


def test_a_figure_of_the_report_is_no_point_of_a_curve(project: Project) -> None:
    project.make("ingest")
    (run,) = named(project)["ingest"]
    of_stage = {name: value for name, value in run.data.metrics.items() if not name.startswith("system/")}
    assert of_stage == {"loss": 0.5, "num_rows": 3.0, "report.loss": 0.25}


def test_stages_of_one_pipeline_share_a_parent(project: Project) -> None:
    project.make("ingest")
    project.make("validate")
    runs = named(project)
    assert {name: len(found) for name, found in runs.items()} == {"ingest to validate": 1, "ingest": 1, "validate": 1}
    parent = runs["ingest to validate"][0].info.run_id
    assert runs["ingest"][0].data.tags["mlflow.parentRunId"] == parent
    assert runs["validate"][0].data.tags["mlflow.parentRunId"] == parent
    assert {run.info.status for found in runs.values() for run in found} == {"FINISHED"}


def test_run_holds_params_metrics_report_inputs_and_digest(project: Project) -> None:
    project.make("ingest")
    run = named(project)["ingest"][0]
    assert run.data.params == {"a.b": "1", "c": "[1, 2]"}
    assert run.data.tags["report.name"] == "x"
    assert run.data.tags["modelyard.digest"] == digest_of(Layout(project.root, "tiny", "ingest").artifact)
    assert run.inputs.dataset_inputs[0].dataset.digest == "0" * 32
    files = {file.path for file in project.store.client.list_artifacts(run.info.run_id)}
    assert files == {"report.json", "files.json", "samples"}
    with Image.open(project.store.client.download_artifacts(run.info.run_id, "samples/first.png")) as picture:
        assert np.asarray(picture).tolist() == [[0, 1, 2], [3, 4, 5]]


def test_unchanged_stage_is_a_link_to_the_run_that_made_its_output(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.make("ingest")
    made_by = named(project)["ingest"][0].info.run_id
    monkeypatch.setenv(PIPELINE_VARIABLE, "flow 2")
    project.make("validate")
    runs = named(project)
    (parent,) = runs["validate alone"]
    assert PipelineRun(project.store, parent.info.run_id).made_by() == {
        "ingest": made_by,
        "validate": runs["validate"][0].info.run_id,
    }
    note = parent.data.tags["mlflow.note.content"]
    assert f"| ingest | cached | [{made_by[:8]}]" in note
    assert "| validate | ran |" in note


def test_failed_gate_marks_run_and_parent_and_keeps_its_report(project: Project) -> None:
    with pytest.raises(QualityError), stage_run(project.root, "tiny", "evaluate"):
        raise QualityError("accuracy 0.5 is below 0.9", report={"accuracy": 0.5})
    runs = named(project)
    assert {run.info.status for found in runs.values() for run in found} == {"FAILED"}
    run = runs["evaluate"][0]
    assert run.data.tags["modelyard.error"] == "QualityError: accuracy 0.5 is below 0.9"
    path = project.store.client.download_artifacts(run.info.run_id, "report.json")
    assert json.loads(Path(path).read_text()) == {"accuracy": 0.5}


def test_interrupt_marks_run_and_parent_killed(project: Project) -> None:
    with pytest.raises(KeyboardInterrupt), stage_run(project.root, "tiny", "finetune"):
        raise KeyboardInterrupt
    assert {run.info.status for found in named(project).values() for run in found} == {"KILLED"}


def test_run_of_a_training_that_was_stopped_is_carried_on(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    note = project.root / "checkpoints" / "run.json"
    with suppress(KeyboardInterrupt), stage_run(project.root, "tiny", "pretrain", unfinished=note) as run:
        run.log_start({"a": 1}, {"ingest/data.parquet": "0" * 32})
        for step in (1, 2, 3):
            run.log_metrics({"loss": step / 10, "rate": 1.0}, step=step)
        raise KeyboardInterrupt
    monkeypatch.setenv(PIPELINE_VARIABLE, "flow 2")
    with pytest.raises(QualityError), stage_run(project.root, "tiny", "pretrain", unfinished=note):
        raise QualityError("too low", report={})
    with stage_run(project.root, "tiny", "pretrain", unfinished=note) as again:
        assert again.run_id == run.run_id
        again.log_start({"a": 1}, {"ingest/data.parquet": "0" * 32})
        for step in (3, 4):
            again.log_metrics({"loss": step / 10, "rate": 2.0, "accuracy": 0.5}, step=step)
    client = project.store.client
    points = [(one.step, one.value) for one in client.get_metric_history(run.run_id, "loss")]
    assert sorted(points) == [(1, 0.1), (2, 0.2), (3, 0.3), (4, 0.4)]
    assert sorted(one.value for one in client.get_metric_history(run.run_id, "rate")) == [1, 1, 1, 2]
    assert [one.step for one in client.get_metric_history(run.run_id, "accuracy")] == [3, 4]
    load = [one.step for one in client.get_metric_history(run.run_id, "system/cpu_utilization_percentage")]
    assert len(load) == len(set(load))
    (found,) = named(project)["pretrain"]
    parents = {one.info.run_id: one.data.tags["modelyard.pipeline"] for one in named(project)["pretrain alone"]}
    assert (found.info.status, len(found.inputs.dataset_inputs)) == ("FINISHED", 1)
    assert parents[found.data.tags["mlflow.parentRunId"]] == "flow 2"
    assert found.data.tags["modelyard.carried_on"] == "2"
    assert "modelyard.error" not in found.data.tags
    client.delete_run(run.run_id)
    with stage_run(project.root, "tiny", "pretrain", unfinished=note) as other:
        assert other.run_id != run.run_id


@pytest.mark.long
def test_run_of_a_killed_process_is_found_and_marked_by_the_next(project: Project) -> None:
    code = (
        "import os, sys, signal; from pathlib import Path; from components.tracking.stage_run import stage_run\n"
        "with stage_run(Path(sys.argv[1]), 'tiny', 'finetune', unfinished=Path(sys.argv[2])) as run:\n"
        "    for step in range(1, 501):\n"
        "        run.log_metrics({'loss': step, 'lr': 1, 'norm': 1}, step=step)\n"
        "    run.flush()\n"
        "    run.log_metrics({'loss': 501}, step=501)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    note = project.root / "checkpoints" / "run.json"
    subprocess.run([sys.executable, "-c", code, str(project.root), str(note)], check=False)
    assert sorted(run["stage"] for run in stale_runs(project.root)) == ["finetune", "pipeline"]
    project.make("ingest")
    assert stale_runs(project.root) == []
    assert named(project)["finetune"][0].info.status == "KILLED"
    with stage_run(project.root, "tiny", "finetune", unfinished=note) as again:  # from a checkpoint of step 498
        for step in range(499, 504):
            again.log_metrics({"loss": step}, step=step)
    points = project.store.client.get_metric_history(again.run_id, "loss")
    assert sorted((one.step, one.value) for one in points) == [(step, step) for step in range(1, 504)]
    assert len({one.timestamp for one in points}) > 1  # when each was seen, not when they were sent


def test_experiment_that_was_deleted_is_brought_back(project: Project) -> None:
    project.make("ingest")
    project.store.client.delete_experiment(project.store.experiment_id)
    project.make("validate")
    assert set(named(project)) >= {"ingest", "validate"}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = folder_with(tmp_path / "bundle", {"model.onnx": "x"})
    return finish_bundle(folder)


def folder_with(folder: Path, files: dict[str, str]) -> Path:
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A bundle of another model."""
    return finish_bundle(folder_with(tmp_path / "other", {"model.onnx": "y"}))


def test_first_version_is_champion_the_next_challenger_and_the_same_bundle_no_new_version(
    project: Project, bundle: Path, other: Path, tmp_path: Path
) -> None:
    weights = folder_with(tmp_path / "model", {"model.safetensors": "y"})
    with stage_run(project.root, "tiny", "package") as run:
        registered = [run.register_model(folder, weights=weights) for folder in (bundle, other, bundle)]
    first = {"name": "tiny", "version": "1", "alias": "champion"}
    assert registered == [first, {"name": "tiny", "version": "2", "alias": "challenger"}, first]
    client = project.store.client
    version = client.get_model_version_by_alias("tiny", "champion")
    assert version.tags["digest"] == sha256_of(bundle / "model.json")
    listed = Path(client.download_artifacts(version.run_id, "weights.json"))
    assert version.tags[WEIGHTS_TAG] == sha256_of(listed)
    kept = [file.path for file in client.list_artifacts(version.run_id, "weights")]
    assert kept == ["weights/model.safetensors"]


def test_another_build_takes_the_place_of_the_one_before_and_is_no_version(
    project: Project, bundle: Path, tmp_path: Path
) -> None:
    weights = folder_with(tmp_path / "model", {"model.safetensors": "y"})
    register(project, bundle, weights)
    registry = project.store.registry
    before = registry.version(1)
    again = rebuild(bundle, tmp_path / "again/bundle", card="# mended\n")
    run_id = register(project, again, weights)
    (after,) = registry.versions()
    assert (after.number, after.digest, after.run_id) == (1, before.digest, before.run_id)
    assert (before.build, after.build) == (identify(bundle).build, identify(again).build)
    registry.bring(after, tmp_path / "brought")
    assert files_of(tmp_path / "brought") == files_of(again)
    registry.bring(before, tmp_path / "before")  # the registry keeps both
    assert files_of(tmp_path / "before") == files_of(bundle)
    assert project.store.client.get_registered_model("tiny").description == "# mended\n"
    logged = project.store.client.get_logged_model(after.model_id)
    assert (logged.source_run_id, json.loads(logged.tags["mlflow.modelVersions"])[0]["version"]) == (run_id, 1)
    register(project, bundle, weights)
    assert registry.version(1).build == before.build  # whatever was packaged last


def register(project: Project, bundle: Path, weights: Path) -> str:
    """Register a version in a run of its own; gives the run's id."""
    with stage_run(project.root, "tiny", "package") as run:
        run.register_model(bundle, weights=weights)
        return run.run_id


def test_weights_of_the_champion_come_back_as_they_were_registered(
    project: Project, bundle: Path, other: Path, tmp_path: Path
) -> None:
    first = folder_with(tmp_path / "first", {"family.json": "{}", "model.safetensors": "1"})
    second = folder_with(tmp_path / "second", {"family.json": "{}", "model.safetensors": "2"})
    register(project, bundle, first)
    register(project, other, second)
    with stage_run(project.root, "tiny", "pretrain") as run:
        taken = run.champion_weights(tmp_path / "source")
        assert files_of(taken) == files_of(first)
        project.store.client.set_registered_model_alias("tiny", "champion", "2")
        assert files_of(run.champion_weights(tmp_path / "source")) == files_of(first)  # as was written down
        note_weights(project.root, project.store.registry)
        assert files_of(run.champion_weights(tmp_path / "source")) == files_of(second)


def test_no_champion_gives_no_weights(project: Project, bundle: Path, tmp_path: Path) -> None:
    with stage_run(project.root, "tiny", "pretrain") as run:
        assert run.champion_weights(tmp_path / "source") is None
        run.register_model(bundle, weights=folder_with(tmp_path / "model", {"a": "1"}))
        project.store.client.delete_registered_model_alias("tiny", "champion")
        note_weights(project.root, project.store.registry)
        assert run.champion_weights(tmp_path / "source") is None


@pytest.mark.parametrize("name", ["weights/model.safetensors", "weights/config.json", "weights.json"])
def test_weights_that_are_not_those_that_were_registered_are_refused(
    name: str, project: Project, bundle: Path, tmp_path: Path
) -> None:
    run_id = register(project, bundle, folder_with(tmp_path / "model", {"model.safetensors": "1"}))
    kept = Path(project.store.client.get_run(run_id).info.artifact_uri.removeprefix("file://"))
    (kept / name).write_text('{"model.safetensors": "0"}')
    with stage_run(project.root, "tiny", "pretrain") as run:
        with pytest.raises(ArtifactError, match=r"version 1 of tiny are not those that were registered"):
            run.champion_weights(tmp_path / "source")
    assert not (tmp_path / "source").exists()


def test_weights_that_no_version_has_say_what_to_do(project: Project, bundle: Path, tmp_path: Path) -> None:
    register(project, bundle, folder_with(tmp_path / "model", {"model.safetensors": "1"}))
    project.store.client.delete_model_version_tag("tiny", "1", WEIGHTS_TAG)
    with stage_run(project.root, "tiny", "pretrain") as run:
        with pytest.raises(ArtifactError, match=r"no version of tiny has the weights .*; 'modelyard run tiny' starts"):
            run.champion_weights(tmp_path / "source")
        note_weights(project.root, project.store.registry)
        assert run.champion_weights(tmp_path / "source") is None  # which the stage says in its own words


def test_provenance_names_the_runs_of_the_stages_before(project: Project) -> None:
    project.make("ingest")
    with stage_run(project.root, "tiny", "validate") as run:
        provenance = run.provenance()
    assert set(provenance["runs"]) == {"ingest", "validate"}
    assert provenance["git_commit"] is None


def test_store_that_does_not_answer_is_an_error_that_names_it(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    with pytest.raises(StoreError, match=rf"the MLflow store http://127.0.0.1:{port} cannot be reached"):
        check_store(project.root)


def test_password_of_a_store_stays_out_of_the_error(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:hunter2@127.0.0.1:1/none")
    with pytest.raises(StoreError) as caught:
        check_store(project.root)
    assert "hunter2" not in str(caught.value)
    assert masked("postgresql://me:hunter2@host/db") == "postgresql://me:***@host/db"


def test_default_store_is_a_file_of_the_project(project: Project) -> None:
    assert tracking_uri(project.root) == f"sqlite:///{project.root / 'mlflow.db'}"


def test_event_files_need_their_package_and_hold_the_curves(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "1")
    if importlib.util.find_spec("tensorboard") is None:
        with (
            pytest.raises(InputError, match=r"pip install -c requirements.lock -e '.\[tensorboard\]'$"),
            stage_run(project.root, "tiny", "finetune"),
        ):
            pass
        assert project.store.search("") == []
        return
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    project.make("ingest")
    (folder,) = (project.root / "observations/tiny/tensorboard").iterdir()
    assert folder.name.startswith("ingest-")
    events = EventAccumulator(str(folder)).Reload()
    assert [(one.step, one.value) for one in events.Scalars("loss")] == [(1, 0.5)]
    assert events.Tags()["scalars"] == ["loss"]
