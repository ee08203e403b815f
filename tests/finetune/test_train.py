from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from components.finetune.train import run
from components.models import storage
from components.params import TrainFromLabels
from components.plumbing.artifacts import figures_of, read_json, sha256_of
from components.plumbing.errors import InputError
from components.tracking.tracker import NullTracker
from components.training import seats
from components.training.seats import BadStepError
from tests.finetune.rows import array_inputs, as_json, outputs_in

MLP = {"family": "mlp", "hidden_sizes": [16], "activation": "relu", "batch_norm": False, "dropout": 0.0}
PARAMS = {
    "mode": "train",
    "source": None,
    "seed": 0,
    "epochs": 5,
    "steps_per_epoch": None,
    "batch_size": 16,
    "model": MLP,
    "augment": None,
    "precision": "fp32",
    "optimizer": {"name": "adam", "learning_rate": 1e-2, "weight_decay": 0.0, "betas": [0.9, 0.999]},
    "schedule": {"name": "constant", "warmup_share": 0.0},
    "clip": None,
    "class_weights": "balanced",
    "early_stopping": None,
}


def params(**changes: Any) -> TrainFromLabels:
    return TrainFromLabels.model_validate_json(as_json(PARAMS, **changes))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return array_inputs(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def trained(images: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    outputs = outputs_in(tmp_path_factory.mktemp("trained") / "out")
    return outputs, run(params(), images, outputs, tracker=NullTracker())


def test_model_of_its_own_learns_the_labels(trained: Any) -> None:
    outputs, report = trained
    assert report.validation_accuracy > 0.9
    assert report.num_parameters == report.num_trained_parameters == 24 * 16 + 16 + 16 * 2 + 2
    assert (report.num_epochs, report.best_epoch, report.num_steps) == (5, 5, 5 * 13)
    assert read_json(outputs.control / "control.json") == {"trained": False}


def test_batches_left_out_are_counted_where_the_recipe_lets_some_be(
    images: Any, trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "num_left_out" not in figures_of(trained[1])
    checked: list[float] = []

    def spike_at_the_third(loss: float, norm: float, _: object) -> None:
        checked.append(loss)
        if len(checked) == 3:
            raise BadStepError("the loss explodes", loss=loss, norm=norm)

    monkeypatch.setattr(seats, "check_step", spike_at_the_third)
    found = run(params(on_spike={"rollback": 2}, epochs=1), images, outputs_in(tmp_path / "out"), tracker=NullTracker())
    assert (figures_of(found)["num_left_out"], found.num_steps) == (1, 13)


def test_saved_model_reads_scaled_numbers(trained: Any) -> None:
    model = storage.load(trained[0].model)
    rows = torch.full((1, 24), 30.0 / 255)
    rows[0, :12] = 230.0 / 255
    assert model(rows).argmax().item() == 0


def test_same_seed_gives_the_same_bytes(images: Any, trained: Any, tmp_path: Path) -> None:
    again = outputs_in(tmp_path / "again")
    run(params(), images, again, tracker=NullTracker())
    assert sha256_of(again.model / "model.safetensors") == sha256_of(trained[0].model / "model.safetensors")


def test_augmented_rows_train_other_weights(images: Any, trained: Any, tmp_path: Path) -> None:
    moved = outputs_in(tmp_path / "moved")
    run(params(augment={"shift": 1, "rotate": 5.0}), images, moved, tracker=NullTracker())
    assert sha256_of(moved.model / "model.safetensors") != sha256_of(trained[0].model / "model.safetensors")


@pytest.mark.parametrize(
    ("batch_size", "num_steps"), [("full", 1), (64, 4), (1, 200), (1000, 1)], ids=["full", "mini", "one row", "larger"]
)
def test_batch_size_decides_the_steps_of_an_epoch(
    images: Any, tmp_path: Path, batch_size: int | str, num_steps: int
) -> None:
    report = run(params(batch_size=batch_size, epochs=1), images, outputs_in(tmp_path / "out"), tracker=NullTracker())
    assert report.num_steps == num_steps


def test_epoch_may_have_any_number_of_steps(images: Any, tmp_path: Path) -> None:
    report = run(params(steps_per_epoch=30, epochs=2), images, outputs_in(tmp_path / "out"), tracker=NullTracker())
    assert report.num_steps == 60  # of 13 batches that see every row once


def test_batch_of_one_row_is_refused_under_batch_norm(tmp_path: Path) -> None:
    inputs = array_inputs(tmp_path / "rows", num_rows=33)
    with pytest.raises(InputError, match="of 33 rows in batches of 16 one batch has a single row"):
        run(params(model={**MLP, "batch_norm": True}), inputs, outputs_in(tmp_path / "out"), tracker=NullTracker())


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ({"family": "lstm", "embedding_size": 4, "hidden_size": 4, "num_layers": 1, "dropout": 0.0}, "."),
        ({"family": "gpt", "hidden_size": 4, "num_layers": 1, "num_heads": 1, "dropout": 0.0}, "."),
    ],
    ids=["lstm", "gpt"],
)
def test_family_that_is_no_classifier_is_refused(
    images: Any, tmp_path: Path, model: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InputError, match=f"family '{model['family']}' is no classifier of these rows: {reason}"):
        run(params(model=model), images, outputs_in(tmp_path / "out"), tracker=NullTracker())


def test_class_weights_are_those_of_scikit_learn() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    from components.objectives.classification import class_weights

    label_id = np.array([0] * 7 + [1] * 2 + [2])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=label_id)
    np.testing.assert_allclose(class_weights("balanced", label_id, num_labels=3), expected, rtol=1e-6)
    assert class_weights("none", label_id, num_labels=3).tolist() == [1, 1, 1]
