"""What would be served of a trial: its bytes, and its speed beside that of the present settings."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from components.params.sweep import Sweep
from components.plumbing.artifacts import read_json
from components.plumbing.errors import InputError
from components.recipes import load_recipe
from flows.sweep.settings.space import check_figures
from flows.sweep.trials.served import SERVED, SpeedTest, coarse, compression_trial, drop_served, export_served
from flows.sweep.trials.trial import PRESENT, Trial, read_trial
from flows.sweep.trials.work import StudyFolders
from serving.tasks.array_classification.predictor import Predictor


@pytest.fixture
def folders(trained_arrays: Path, tmp_path: Path) -> StudyFolders:
    """A study whose first trial has the present model, too; evaluate was never there."""
    found = StudyFolders(trained_arrays, "tiny", tmp_path / "study")
    for stage in ("preprocess", "finetune"):
        shutil.copytree(trained_arrays / "artifacts/tiny" / stage, found.present / stage)
    (found.trial(1) / "artifacts").mkdir(parents=True)
    for stage in ("preprocess", "finetune"):
        os.symlink(found.present / stage, found.trial(1) / "artifacts" / stage)
    return found


def test_bytes_are_those_that_compress_would_serve(folders: StudyFolders, compressed_arrays: Path) -> None:
    recipe = load_recipe(folders.root, "tiny")
    size_bytes = export_served(folders, 1, recipe, judged="finetune")
    assert size_bytes == (folders.trial(1) / SERVED / "model.onnx").stat().st_size
    assert size_bytes == read_json(compressed_arrays / "artifacts/tiny/compress/report.json")["size_bytes"]
    assert export_served(folders, 1, recipe, judged="finetune") == size_bytes  # again, as after a kill
    Predictor.load(folders.trial(1) / SERVED, threads=1)
    drop_served(folders, [1])
    assert not (folders.trial(1) / SERVED).exists()


def test_speed_is_a_ratio_to_the_present_one_and_is_taken_once(
    folders: StudyFolders, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load_recipe(folders.root, "tiny")
    export_served(folders, 1, recipe, judged="finetune")
    test = SpeedTest(folders, recipe, judged="finetune")
    monkeypatch.setattr(test, "rates", lambda runners: {"present": [100.0, 100.0], "trial": [149.0, 151.0, 160.0][:2]})
    present = test.time_present(Trial(PRESENT, {}, "done", 0.9, {"validation_accuracy": 0.9}))
    assert present.figures == {"validation_accuracy": 0.9, "rows_per_s": 100.0, "speedup": 1.0}
    assert read_trial(folders.trial(PRESENT)) == present
    timed = test.time(Trial(1, {}, "done", None, {"size_bytes": 1.0}), first_objective="speedup")
    assert timed.value == timed.figures["speedup"] == coarse(1.5)
    assert timed.figures["rows_per_s"] == pytest.approx(100 * coarse(1.5), rel=1e-3)
    assert read_trial(folders.trial(1)) == timed
    monkeypatch.setattr(test, "rates", lambda runners: pytest.fail("it was timed again"))
    assert test.time(timed, first_objective="speedup") is timed
    assert test.time_present(present) is present


def test_real_clock_finds_a_model_about_as_fast_as_itself(folders: StudyFolders) -> None:
    recipe = load_recipe(folders.root, "tiny")
    export_served(folders, 1, recipe, judged="finetune")
    test = SpeedTest(folders, recipe, judged="finetune")
    assert test.time_present(Trial(PRESENT, {}, "done", 0.9)).figures["rows_per_s"] > 0
    timed = test.time(Trial(1, {}, "done", 0.9, {}), first_objective="validation_accuracy")
    assert 0.25 < timed.figures["speedup"] < 4


def test_graph_that_does_not_answer_is_a_failed_trial(folders: StudyFolders) -> None:
    recipe = load_recipe(folders.root, "tiny")
    export_served(folders, 1, recipe, judged="finetune")
    (folders.trial(1) / SERVED / "model.onnx").write_bytes(b"broken")
    test = SpeedTest(folders, recipe, judged="finetune")
    failed = test.time(Trial(1, {}, "done", 0.9, {}), first_objective="validation_accuracy")
    assert (failed.state, failed.value) == ("failed", None)
    assert failed.reason.startswith("its served model could not be timed")


def test_task_says_what_its_speed_counts(folders: StudyFolders) -> None:
    unit = compression_trial(folders, PRESENT, load_recipe(folders.root, "tiny"), judged="finetune").unit
    given: dict[str, Any] = {"space": {"finetune.epochs": (1, 2)}, "trials": 2, "objective": ("tokens_per_s",)}
    told = r"sweep.objective names 'tokens_per_s'.*it measures validation_loss, size_bytes, speedup, rows_per_s"
    with pytest.raises(InputError, match=told):
        check_figures(Sweep.model_validate(given), {"validation_loss": 0.5}, unit=unit)
    limits = {"objective": "validation_loss", "constraints": {"validation_accuracy": {"min": 0.9}}}
    with pytest.raises(InputError, match=r"sweep.constraints names 'validation_accuracy'"):
        check_figures(Sweep.model_validate(given | limits), {"validation_loss": 0.5})


def test_speeds_that_differ_by_noise_are_mostly_one() -> None:
    assert {coarse(ratio) for ratio in (0.98, 1.0, 1.02)} == {1.0}
    assert coarse(1.5) == pytest.approx(1.5, rel=0.025)
