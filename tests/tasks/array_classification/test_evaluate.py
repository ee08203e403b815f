import json
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from pydantic import ValidationError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score

from components.evaluate import Inputs, Outputs, stage
from components.evaluate.classification.report import Report
from components.evaluate.explanations.page import part
from components.models.facts import Facts
from components.models.mlp.network import Perceptron, build
from components.models.storage import save
from components.params import ArrayClassificationFigures
from components.params.families.mlp import MlpSettings
from components.plumbing.artifacts import files_of
from components.plumbing.errors import ArtifactError, InputError, QualityError
from components.tasks import task_of
from components.tracking.tracker import NullTracker
from serving.predictors.calibration import load_calibration

run = partial(stage.run, measure=task_of("array_classification").evaluate)

LABELS = ["in", "out"]
MLP = MlpSettings(family="mlp", hidden_sizes=(16,), activation="relu", batch_norm=False, dropout=0.0)
FACTS = Facts(num_labels=2, shape=(1, 2))
FIGURES: dict[str, Any] = {
    "task": "array_classification", "bootstrap": {"num_samples": 200, "seed": 0, "confidence": 0.95},
    "baseline": {"C": 1.0}, "gate": {"metric": "accuracy", "min": -1.0, "min_gain": -2.0}, "calibration_bins": 10,
    "num_mistakes": 5,
}  # fmt: skip


def ring(num_rows: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Points (N, 2) from 0 to 100, and whether each lies outside a circle, which no line can tell."""
    values = np.random.default_rng(seed).uniform(0, 100, size=(num_rows, 2)).astype(np.float32)
    return values, (((values - 50) ** 2).sum(axis=1) > 40**2).astype(np.int64)


def write_split(path: Path, values: np.ndarray, label_id: np.ndarray) -> None:
    rows = {
        "row": pa.array(range(len(values)), pa.int64()),
        "values": pa.array(values.tolist(), pa.list_(pa.float32())),
        "label_id": pa.array(label_id, pa.int32()),
    }
    pq.write_table(pa.table(rows), path)


def make_inputs(folder: Path, model: Perceptron, *, train: Any, test: Any) -> Inputs:
    predictor = folder / "predictor"
    predictor.mkdir(parents=True)
    settings = {"task": "array_classification", "labels": LABELS, "shape": [1, 2], "offset": 50, "scale": 50}
    (predictor / "predictor.json").write_text(json.dumps(settings))
    write_split(folder / "train.parquet", *train)
    write_split(folder / "validation.parquet", *train)
    write_split(folder / "test.parquet", *test)
    save(model, folder / "model", family="mlp", settings=MLP, facts=FACTS)
    splits = {name: folder / f"{name}.parquet" for name in ("train", "validation", "test")}
    return Inputs(**splits, predictor=predictor, model=folder / "model", control=folder / "control", recipe="tiny")


def make_outputs(folder: Path) -> Outputs:
    (folder / "artifact").mkdir(parents=True)
    (folder / "observations").mkdir()
    places = {"artifact": folder / "artifact", "observations": folder / "observations"}
    return Outputs(**{f.name: places[f.metadata["place"]] / f.metadata["name"] for f in fields(Outputs)})


def judge(inputs: Inputs, folder: Path, **changes: Any) -> tuple[Report, Outputs]:
    outputs = make_outputs(folder)
    params = ArrayClassificationFigures.model_validate_json(json.dumps(FIGURES | changes))
    return run(params, inputs, outputs, tracker=NullTracker()), outputs


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """A model that has learned what lies outside the circle."""
    torch.manual_seed(0)
    model, train = build(MLP, FACTS), ring(400, seed=1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    for _ in range(200):
        optimizer.zero_grad()
        logits = model(torch.from_numpy((train[0] - 50) / 50))
        torch.nn.functional.cross_entropy(logits, torch.from_numpy(train[1])).backward()
        optimizer.step()
    return make_inputs(tmp_path_factory.mktemp("good"), model, train=train, test=ring(300, seed=2))


def test_model_and_baseline_are_judged_on_the_scaled_numbers(good: Inputs, tmp_path: Path) -> None:
    gate = {"metric": "accuracy", "min": 0.9, "min_gain": 0.2}
    report, outputs = judge(good, tmp_path, gate=gate)
    table = pq.read_table(outputs.results / "predictions.parquet").to_pydict()
    assert "text" not in table
    assert report.num_test == len(table["row"]) == 300
    assert report.accuracy == pytest.approx(accuracy_score(table["label_id"], table["predicted_id"]), abs=1e-6)
    (train, train_label_id), (test, test_label_id) = ring(400, seed=1), ring(300, seed=2)
    line = LogisticRegression(C=1.0, max_iter=2000).fit((train - 50) / 50, train_label_id)
    assert report.baseline_accuracy == pytest.approx(line.score((test - 50) / 50, test_label_id), abs=1e-6)
    assert report.gain_low > 0.2
    mistakes = json.loads((outputs.results / "mistakes.json").read_text())
    assert all(set(one) == {"row", "actual", "actual_score", "predicted", "score"} for one in mistakes)
    assert (outputs.plots / "comparison.png").is_file()


@pytest.mark.long
def test_a_sample_of_images_is_explained_patch_by_patch(good: Inputs, tmp_path: Path) -> None:
    _, outputs = judge(good, tmp_path / "one", explain={"rows": 40, "seed": 0})
    found = json.loads((outputs.results / "explanations.json").read_text())
    assert (found["num_rows"], found["parts"], found["patch"]) == (40, "patches", [1, 1])
    assert found["orders"].keys() == {"occlusion", "occlusion_of_random_weights", "random"}
    assert found["agreement"] == {}
    assert all(np.shape(one["effects"]) == np.shape(one["values"]) == (1, 2) for one in found["images"])
    assert 0 < len(found["images"]) <= 16
    assert (outputs.plots / "occlusion.png").is_file()
    made = part(found)
    assert made.body.count("<svg") == 2
    _, again = judge(good, tmp_path / "two", explain={"rows": 40, "seed": 0})
    assert files_of(again.results.parent) == files_of(outputs.results.parent)


@pytest.mark.parametrize("method", ["temperature", "isotonic"])
def test_scores_are_calibrated_on_the_validation_split(good: Inputs, method: str, tmp_path: Path) -> None:
    write_split(tmp_path / "validation.parquet", *ring(500, seed=3))
    inputs = replace(good, validation=tmp_path / "validation.parquet")
    plain, before = judge(inputs, tmp_path / "plain")
    calibrate = {"method": method, "min_class_rows": 20, "precision": 0.95}
    report, outputs = judge(inputs, tmp_path / "out", calibrate=calibrate)
    assert report.num_calibrated_on == 500
    assert report.ece_before == plain.ece
    assert report.accuracy_before == plain.accuracy
    fitted = load_calibration(outputs.results, num_labels=2)
    assert fitted is not None
    assert fitted.method == report.calibration == method
    scores, given = (
        np.array(pq.read_table(one.results / "predictions.parquet")["scores"].to_pylist(), np.float32)
        for one in (outputs, before)
    )
    np.testing.assert_array_equal(scores, fitted.way.apply(given))
    assert report.coverage == pytest.approx(float(fitted.is_sure(scores).mean()), abs=1e-6)
    with pytest.raises(InputError, match="fewer than 400 rows"):
        judge(inputs, tmp_path / "few", calibrate=calibrate | {"min_class_rows": 400})


def test_gate_names_the_baseline(good: Inputs, tmp_path: Path) -> None:
    gate = {"metric": "accuracy", "min": 0.999, "min_gain": 0.9}
    with pytest.raises(QualityError, match=r"is below .* the gain in accuracy over logistic regression is 0\.\d+"):
        judge(good, tmp_path, gate=gate)
    assert (tmp_path / "observations" / "plots" / "confusion.png").is_file()


def test_split_of_one_class_is_refused(tmp_path: Path) -> None:
    values, label_id = ring(50, seed=0)
    inputs = make_inputs(tmp_path / "in", build(MLP, FACTS), train=(values, label_id), test=(values, label_id * 0))
    with pytest.raises(InputError, match="the test split holds only the label 'in'"):
        judge(inputs, tmp_path / "out")


@pytest.mark.filterwarnings("ignore:invalid value encountered")  # inf less inf, in the softmax
def test_scores_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    model, rows = build(MLP, FACTS), ring(50, seed=0)
    with torch.no_grad():
        model.hidden[0].bias.fill_(1e3)
        model.head.weight.fill_(3e38)
    inputs = make_inputs(tmp_path / "in", model, train=rows, test=rows)
    with pytest.raises(ArtifactError, match="not finite for 50 of 50 test rows"):
        judge(inputs, tmp_path / "out")


FIND_SLICES = {"min_rows": 15, "clusters": 4, "seed": 0, "shown": 5}


def test_slices_and_wrong_labels_are_looked_for_where_the_recipe_asks(tmp_path: Path) -> None:
    torch.manual_seed(0)
    train, test = ring(300, seed=1), ring(200, seed=2)
    # a line tells these classes: above the middle or not
    labels = [(values[:, 0] > 50).astype(np.int64) for values, _ in (train, test)]
    flipped = np.random.default_rng(0).choice(np.flatnonzero(np.abs(train[0][:, 0] - 50) > 20), 10, replace=False)
    labels[0][flipped] = 1 - labels[0][flipped]
    inputs = make_inputs(
        tmp_path / "in", build(MLP, FACTS), train=(train[0], labels[0]), test=(test[0], labels[1])
    )  # fmt: skip
    write_split(inputs.validation, test[0][:20], labels[1][:20])
    asked = {"find_slices": FIND_SLICES, "label_errors": {"folds": 5, "shown": 10, "seed": 0, "max_rows": 1000}}
    _, outputs = judge(inputs, tmp_path / "out", **asked)
    slices = json.loads((outputs.results / "found_slices.json").read_text())
    assert set(slices["looked_at"]) == {"mean", "cluster", "label"}
    assert slices["num_surely_worse"] > 0  # an untrained model
    errors = json.loads((outputs.results / "label_errors.json").read_text())
    assert errors["classifier"] == "logistic regression"
    assert sum(one["row"] in flipped and one["split"] == "train" for one in errors["suspects"]) >= 8
    assert errors["suspects"][0]["text"] is None
    assert (outputs.results / "label_errors.csv").read_text().splitlines()[0].endswith("model_agrees")
    assert (outputs.plots / "found_slices.png").is_file()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"find_slices": FIND_SLICES | {"max_words": 100}}, "max_words"),
        ({"find_slices": FIND_SLICES | {"min_rows": 2}}, "min_rows"),
        ({"label_errors": {"folds": 1, "shown": 10, "seed": 0, "max_rows": 1000}}, "folds"),
        ({"label_errors": {"folds": 5, "shown": 10, "seed": 0}}, "max_rows"),
    ],
)
def test_settings_without_effect_or_sense_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ArrayClassificationFigures.model_validate_json(json.dumps(FIGURES | changes))
