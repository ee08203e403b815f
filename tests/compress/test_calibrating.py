import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from numpy.typing import NDArray

from components.compress.calibrating import calibrate
from components.compress.candidates import Workshop
from components.compress.choice import choose, limits_of
from components.compress.paths import Inputs
from components.evaluate.figures import GATE_METRIC
from components.models.storage import load
from components.params import Calibrate
from components.plumbing.artifacts import Layout, read_json, write_json
from components.plumbing.errors import CompressionError
from components.recipes import load_recipe
from components.tasks import task_of
from components.tracking.tracker import NullTracker
from serving.predictors.calibration import CALIBRATION, Calibration, Temperature, load_calibration
from serving.predictors.scores import softmax
from tests.compress.test_stage import FAST, GATE, JUDGED, candidate
from tests.tiny_model import LABELS

SETTINGS = Calibrate(method="temperature", min_class_rows=5, precision=0.95)
SHARPER = 3.0
OF_FLOAT = Calibration(Temperature(1.5), 0.9, 0.7)


def rows_of(number: int = 2000) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Logits of two labels, and labels drawn by them."""
    random = np.random.default_rng(0)
    logits = random.normal(size=(number, 2)) * 2
    actual = (random.random(number) < softmax(logits)[:, 1]).astype(np.int64)
    return logits, actual


def test_sharper_scores_get_a_temperature_and_a_threshold_of_their_own(tmp_path: Path) -> None:
    logits, actual = rows_of()
    found = {}
    for name, factor in (("whole", 1.0), ("sharper", SHARPER)):
        folder = tmp_path / name
        folder.mkdir()
        assert calibrate(folder, softmax(logits * factor), actual, SETTINGS, level=0.95, of_float=OF_FLOAT) == ()
        found[name] = load_calibration(folder, num_labels=2)
    whole, sharper = found["whole"], found["sharper"]
    assert whole is not None
    assert sharper is not None
    assert isinstance(whole.way, Temperature)
    assert isinstance(sharper.way, Temperature)
    assert sharper.way.value == pytest.approx(SHARPER * whole.way.value, rel=1e-3)
    assert sharper.threshold == pytest.approx(whole.threshold, abs=1e-3)
    answered = sharper.is_sure(sharper.way.apply(softmax(logits * SHARPER)))
    hit = logits.argmax(axis=1) == actual
    assert hit[answered].mean() >= 0.95
    assert whole.is_sure(whole.way.apply(softmax(logits * SHARPER))).mean() > answered.mean()  # too sure by the other's


def test_a_candidate_that_is_not_as_precise_as_wanted_is_outside_of_the_limits(tmp_path: Path) -> None:
    logits, actual = rows_of()
    settings = SETTINGS.model_copy(update={"precision": 0.9999})
    missed = calibrate(tmp_path, softmax(logits), actual, settings, level=0.95, of_float=OF_FLOAT)
    assert read_json(tmp_path / CALIBRATION)["threshold"] is None
    with pytest.raises(CompressionError, match=r"are surely right \(evaluate.calibrate.precision 0.9999\)"):
        choose([candidate("int8", limits=missed)], {"int8": FAST}, GATE, **JUDGED)


def test_a_candidate_that_no_temperature_fits_is_outside_of_the_limits(tmp_path: Path) -> None:
    logits, actual = rows_of()
    told_nothing = softmax(-logits)  # wrong wherever it is sure
    missed = calibrate(tmp_path, told_nothing, actual, SETTINGS, level=0.95, of_float=OF_FLOAT)
    assert not (tmp_path / CALIBRATION).exists()
    (first, *_) = limits_of(candidate("int8", limits=missed), FAST, GATE, **JUDGED)
    assert first.miss == float("inf")
    with pytest.raises(CompressionError, match="tell nothing of the labels"):
        choose([candidate("int8", limits=missed)], {"int8": FAST}, GATE, **JUDGED)


def test_a_candidate_without_a_mistake_takes_the_float_model_s_calibration(tmp_path: Path) -> None:
    logits, _ = rows_of()
    assert calibrate(tmp_path, softmax(logits), logits.argmax(axis=1), SETTINGS, level=0.95, of_float=OF_FLOAT) == ()
    assert load_calibration(tmp_path, num_labels=2) == OF_FLOAT


def test_what_misses_the_precision_by_less_than_a_digit_misses_it(tmp_path: Path) -> None:
    outcomes = set[bool]()
    for number in range(1500, 1512):  # some of the best precisions are rounded up in the report, others down
        logits, actual = rows_of(number)
        asked = SETTINGS.model_copy(update={"precision": 0.9999})
        (limit,) = calibrate(tmp_path, softmax(logits), actual, asked, level=0.95, of_float=OF_FLOAT)
        rounded = asked.model_copy(update={"precision": round(limit.figure, 6)})
        missed = calibrate(tmp_path, softmax(logits), actual, rounded, level=0.95, of_float=OF_FLOAT)
        is_reached = read_json(tmp_path / CALIBRATION)["threshold"] is not None
        assert all(limit.miss > 0 for limit in missed)
        assert bool(missed) is not is_reached
        outcomes.add(is_reached)
    assert outcomes == {True, False}


def turn_labels(path: Path, *, every: int) -> None:
    """Give some rows the other label, so that the tiny model makes mistakes."""
    table = pq.read_table(path)
    turned = table["label_id"].to_numpy().copy()
    turned[::every] = 1 - turned[::every]
    pq.write_table(table.set_column(table.column_names.index("label_id"), "label_id", [turned]), path)


def test_each_candidate_is_judged_and_served_with_its_own(trained: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(trained, tmp_path / "project"))
    inputs = Layout(root, "tiny", "compress").inputs(Inputs)
    turn_labels(inputs.validation, every=6)
    of_float: dict[str, Any] = {"method": "temperature", "temperature": 1.5, "threshold": 0.9, "precision": 0.7}
    write_json(inputs.float_results / CALIBRATION, of_float)
    asked = SETTINGS.model_copy(update={"precision": 0.7}).model_dump()
    write_json(
        inputs.float_results / GATE_METRIC,
        {"metric": "accuracy", "calibration_bins": 10, "calibrate": asked, "confidence": 0.95},
    )
    task = task_of("text_classification")
    trial = task.compress(inputs)
    workshop = Workshop(
        load_recipe(root, "tiny").compress, trial, inputs, trial.judge_float().quality, task.drop, tmp_path / "scratch",
        tmp_path / "kept", NullTracker(),
    )  # fmt: skip
    workshop.scratch.mkdir()
    whole, *_ = workshop.make(trial.export(), network="as trained")
    model: Any = load(inputs.model)
    with torch.no_grad():
        for parameter in model.hosted.classifier.parameters():
            parameter *= SHARPER
    sharper, *_ = workshop.make(trial.export(model), network="a student")
    own = [load_calibration(one.folder, num_labels=len(LABELS)) for one in (whole, sharper)]
    assert [one.runner.calibration for one in (whole, sharper)] == own
    values = [one.way.value for one in own]
    assert values[0] != pytest.approx(1.5, rel=0.05)
    assert values[1] == pytest.approx(SHARPER * values[0], rel=0.05)
    assert sharper.quality == whole.quality
    tested = trial.test(sharper.runner)
    assert tested.calibration["temperature"] == values[1]
    assert tested.calibration["threshold"] == own[1].threshold
    assert tested.calibration["coverage"] == pytest.approx(trial.test(whole.runner).calibration["coverage"], abs=0.05)
    assert all("abstain" in golden["answer"][0] for golden in tested.golden)
