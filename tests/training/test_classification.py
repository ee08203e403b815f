import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.metrics import f1_score, log_loss
from sklearn.utils.class_weight import compute_sample_weight
from torch import nn

from components.models.facts import read_facts
from components.objectives.classification import macro_f1, prepare
from components.params import TrainFromLabels
from components.plumbing.artifacts import read_json, write_json
from components.tracking.tracker import NullTracker
from components.training.objective import Data
from tests.finetune.rows import array_inputs
from tests.finetune.test_train import PARAMS


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Images of 6 x 4 from 0 to 255, read from -1 to 1."""
    inputs = array_inputs(tmp_path_factory.mktemp("images"), num_rows=50)
    predictor = inputs.predictor / "predictor.json"
    write_json(predictor, read_json(predictor) | {"offset": 127.5, "scale": 127.5})
    return inputs


def objective_of(inputs: Any, **changes: Any) -> Any:
    torch.manual_seed(0)
    model = nn.Linear(24, 2)
    params = TrainFromLabels.model_validate_json(json.dumps({**PARAMS, **changes}))
    objective = prepare(
        params, model=model, facts=read_facts(inputs.predictor),
        data=Data(inputs.train, inputs.validation, None, inputs.predictor),
        tracker=NullTracker(), device=torch.device("cpu"), precision="fp32",
    )  # fmt: skip
    return model, objective


def by_row(objective: Any, epoch: int = 0, start: int = 0) -> dict[int, tuple[list[float], int]]:
    found = {}
    for batch in objective.batches(epoch, start):
        assert batch.num_units == len(batch.row)
        for row, values, label in zip(batch.row, batch.values, batch.label_id, strict=True):
            found[int(row)] = (values.tolist(), int(label))
    return found


def test_every_row_comes_scaled_with_its_label(inputs: Any) -> None:
    _, objective = objective_of(inputs)
    found = by_row(objective)
    table = pq.read_table(inputs.train)
    assert sorted(found) == table["row"].to_pylist()
    for row, values, label in zip(*(table[name].to_pylist() for name in ("row", "values", "label_id")), strict=True):
        assert found[row][0] == pytest.approx([(v - 127.5) / 127.5 for v in values], abs=1e-6)
        assert found[row][1] == label


def test_a_row_is_moved_the_same_in_whatever_batch_it_is(inputs: Any) -> None:
    moves = {"shift": 2, "rotate": 20.0}
    _, one = objective_of(inputs, augment=moves)
    _, other = objective_of(inputs, augment=moves, batch_size=7)
    _, still = objective_of(inputs)
    first = by_row(one)
    assert first.keys() == by_row(other).keys()
    assert all(first[row][0] == pytest.approx(values) for row, (values, _) in by_row(other).items())
    assert by_row(one, start=2).items() <= first.items()
    assert first != by_row(one, epoch=1)
    assert first != by_row(still)


def test_what_comes_in_from_outside_is_the_background(inputs: Any) -> None:
    _, objective = objective_of(inputs, augment={"shift": 6, "rotate": 0.0})
    lowest = [min(values) for values, _ in by_row(objective).values()]
    assert lowest.count(-1.0) > len(lowest) / 2  # 0 in the source, not the middle of the scale


def test_loss_is_weighted_as_the_recipe_says(inputs: Any, tmp_path: Path) -> None:
    table = pq.read_table(inputs.train).slice(0, 41)  # 21 of one class, 20 of the other; without 10 of those
    table = table.filter(
        [
            not (label and row < 20)
            for label, row in zip(table["label_id"].to_pylist(), table["row"].to_pylist(), strict=True)
        ]
    )
    pq.write_table(table, tmp_path / "train.parquet")
    uneven = replace(inputs, train=tmp_path / "train.parquet")
    losses = {}
    for mode in ("none", "balanced"):
        model, objective = objective_of(uneven, class_weights=mode, batch_size="full")
        (batch,) = objective.batches(0, 0)
        losses[mode] = objective.players[0].loss_of(model, batch).item()
    label_id = batch.label_id.numpy()
    assert np.bincount(label_id).tolist() == [21, 10]
    scores = model(batch.values).softmax(dim=1).detach().numpy()
    balanced = compute_sample_weight("balanced", label_id)
    assert losses["none"] == pytest.approx(log_loss(label_id, scores), rel=1e-5)
    assert losses["balanced"] == pytest.approx(log_loss(label_id, scores, sample_weight=balanced), rel=1e-5)


def test_validation_figures_are_those_of_scikit_learn(inputs: Any) -> None:
    model, objective = objective_of(inputs)
    table = pq.read_table(inputs.validation)
    values = (np.array(table["values"].to_pylist(), np.float32) - 127.5) / 127.5
    scores = model(torch.from_numpy(values)).softmax(dim=1).detach().numpy()
    label_id = table["label_id"].to_numpy()
    predicted = scores.argmax(axis=1)
    assert objective.validate(model) == {
        "validation_loss": pytest.approx(log_loss(label_id, scores), rel=1e-5),
        "validation_accuracy": (predicted == label_id).mean(),
        "validation_f1_macro": f1_score(label_id, predicted, average="macro"),
    }


def test_macro_f1_is_that_of_scikit_learn_to_the_last_bit() -> None:
    random = np.random.default_rng(0)
    for num_labels in (2, 3, 17):  # 17: more than a row has, so that some are never answered, or never true
        for num_rows in (1, 8, 400):
            truth, answer = random.integers(0, num_labels, (2, num_rows))
            assert macro_f1(truth, answer) == f1_score(truth, answer, average="macro", zero_division=0)
