import csv
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from components.finetune.adapt import run
from components.models import storage
from components.models.encoder.network import classifier_from_encoder
from components.params import Adapt
from components.plumbing.artifacts import read_json, sha256_of
from components.tracking.tracker import NullTracker
from components.training import loop
from tests.finetune.rows import as_json, outputs_in, text_inputs

PARAMS = {
    "mode": "adapt",
    "seed": 0,
    "epochs": 3,
    "steps_per_epoch": None,
    "batch_size": 16,
    "way": {"name": "full", "freeze": []},
    "dropout": 0.1,
    "precision": "fp32",
    "optimizer": {"name": "adamw", "learning_rate": 3e-3, "weight_decay": 0.01, "betas": [0.9, 0.999]},
    "schedule": {"name": "linear", "warmup_share": 0.1},
    "clip": {"by": "norm", "limit": 1.0},
    "class_weights": "none",
    "early_stopping": {"metric": "accuracy", "patience": 3},
    "control": False,
}
HEAD = r"^hosted\.(bert\.pooler|classifier)\."
LORA = {"name": "lora", "rank": 4, "alpha": 8, "dropout": 0.1}


def params(**changes: Any) -> Adapt:
    return Adapt.model_validate_json(as_json(PARAMS, **changes))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return text_inputs(tmp_path_factory.mktemp("finetune"))


@pytest.fixture(scope="module")
def trained(inputs: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    outputs = outputs_in(tmp_path_factory.mktemp("trained") / "out")
    return outputs, run(params(), inputs, outputs, tracker=NullTracker())


class Recorder(NullTracker):
    def __init__(self) -> None:
        self.names: set[str] = set()

    def log_metrics(self, values: Mapping[str, float], *, step: int) -> None:
        self.names |= set(values)

    def tag(self, values: Mapping[str, str]) -> None:
        self.names |= {f"tag {name}" for name in values}


def test_training_learns_what_tells_the_classes_apart(trained: Any) -> None:
    _, report = trained
    assert report.validation_accuracy > 0.9
    assert report.num_steps == 3 * 13


def test_same_seed_gives_the_same_bytes(inputs: Any, trained: Any, tmp_path: Path) -> None:
    again = outputs_in(tmp_path / "again")
    run(params(), inputs, again, tracker=NullTracker())
    outputs, _ = trained
    assert sha256_of(again.model / "model.safetensors") == sha256_of(outputs.model / "model.safetensors")
    assert again.history.read_bytes() == outputs.history.read_bytes()


def test_another_seed_gives_other_weights(inputs: Any, trained: Any, tmp_path: Path) -> None:
    other = outputs_in(tmp_path / "other")
    run(params(seed=1, epochs=1), inputs, other, tracker=NullTracker())
    assert sha256_of(other.model / "model.safetensors") != sha256_of(trained[0].model / "model.safetensors")


def test_the_tokenizer_is_kept_beside_the_model_for_a_later_training(inputs: Any, trained: Any) -> None:
    kept = trained[0].model / "tokenizer.json"
    assert kept.read_bytes() == (inputs.predictor / "tokenizer.json").read_bytes()


def test_saved_model_opens_again(trained: Any) -> None:
    outputs, report = trained
    assert sorted(p.name for p in outputs.model.iterdir()) == [
        "README.md", "config.json", "family.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"
    ]  # fmt: skip
    model = storage.load(outputs.model)
    assert sum(p.numel() for p in model.parameters()) == report.num_parameters
    ids = torch.tensor([[2, 7, 9, 3], [2, 7, 3, 0]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    together = model(ids, mask)
    alone = model(ids[1:, :3], mask[1:, :3])
    torch.testing.assert_close(together[1:], alone)


def test_history_has_a_row_an_epoch(trained: Any) -> None:
    with trained[0].history.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert list(rows[0]) == [
        "epoch", "train_loss", "validation_accuracy", "validation_f1_macro", "validation_loss"
    ]  # fmt: skip


def test_without_a_control_the_folder_says_so(trained: Any) -> None:
    assert read_json(trained[0].control / "control.json") == {"trained": False}


def test_control_is_the_same_network_trained_from_random_weights(inputs: Any, tmp_path: Path) -> None:
    outputs, tracker = outputs_in(tmp_path / "out"), Recorder()
    report = run(
        params(control=True, epochs=1, way={"name": "full", "freeze": ["embeddings"]}),
        inputs, outputs, tracker=tracker,
    )  # fmt: skip
    model, control = storage.load(outputs.model), storage.load(outputs.control)
    assert {n: p.shape for n, p in model.named_parameters()} == {n: p.shape for n, p in control.named_parameters()}
    pretrained = classifier_from_encoder(inputs.pretrained, labels=("negative", "positive"), dropout=0.0)
    table = "hosted.bert.embeddings.word_embeddings.weight"
    assert torch.equal(model.state_dict()[table], pretrained.state_dict()[table])
    torch.manual_seed(params().seed)
    random = classifier_from_encoder(inputs.pretrained, labels=("negative", "positive"), dropout=0.0, pretrained=False)
    # Of random weights the embeddings must learn, too; no text is so long that the last positions do.
    assert not torch.allclose(control.state_dict()[table], random.state_dict()[table], atol=1e-3)
    positions = "hosted.bert.embeddings.position_embeddings.weight"
    unseen = slice(64, None)
    torch.testing.assert_close(
        control.state_dict()[positions][unseen], random.state_dict()[positions][unseen], rtol=0.01, atol=1e-6
    )
    assert report.control_best_epoch == 1
    assert 0 <= report.control_validation_accuracy <= 1
    assert {"loss", "control_loss", "control_grad_norm", "control_validation_accuracy"} <= tracker.names
    assert {"tag num_threads", "tag instructions", "tag control_num_threads"} <= tracker.names


@pytest.mark.parametrize(
    ("way", "trained_parts"),
    [
        ({"name": "full", "freeze": []}, r"."),
        ({"name": "full", "freeze": ["embeddings"]}, rf"^hosted\.bert\.encoder\.|{HEAD}"),
        ({"name": "head"}, HEAD),
        ({"name": "last", "num_layers": 1}, rf"^hosted\.bert\.encoder\.layer\.1\.|{HEAD}"),
        (LORA, rf"\.(query|key|value)\.weight$|{HEAD}"),
    ],
    ids=["full", "frozen", "head", "last", "lora"],
)
def test_only_what_should_train_does(inputs: Any, tmp_path: Path, way: dict[str, Any], trained_parts: str) -> None:
    outputs = outputs_in(tmp_path / "out")
    report = run(params(way=way, epochs=1), inputs, outputs, tracker=NullTracker())
    before = classifier_from_encoder(inputs.pretrained, labels=("negative", "positive"), dropout=0.0).state_dict()
    after = storage.load(outputs.model).state_dict()
    assert before.keys() == after.keys()
    assert report.num_parameters == sum(value.numel() for value in after.values())
    for name, value in after.items():
        if name.startswith("hosted.classifier."):
            continue  # which begins at random
        # A token that no row has, and what softmax does not feel, has no gradient but decay.
        moved = not torch.equal(value, before[name])
        assert moved == bool(re.search(trained_parts, name)), name


@pytest.mark.parametrize("way", [{"name": "head"}, LORA], ids=["head", "lora"])
def test_resumed_way_ends_in_the_same_bytes(
    inputs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: dict[str, Any]
) -> None:
    whole, resumed = outputs_in(tmp_path / "whole"), outputs_in(tmp_path / "resumed")
    report = run(params(way=way, epochs=2), inputs, whole, tracker=NullTracker())

    class Killed(BaseException):
        pass

    class KilledLater(NullTracker):
        def log_metrics(self, values: Mapping[str, float], *, step: int) -> None:
            if step > 16:
                raise Killed

    monkeypatch.setattr(loop, "CHECKPOINT_INTERVAL_S", 0.0)
    with pytest.raises(Killed):
        run(params(way=way, epochs=2), inputs, resumed, tracker=KilledLater())
    assert run(params(way=way, epochs=2), inputs, resumed, tracker=NullTracker()) == report
    assert sha256_of(resumed.model / "model.safetensors") == sha256_of(whole.model / "model.safetensors")


def test_resume_after_the_model_trains_the_control_alone(inputs: Any, tmp_path: Path) -> None:
    whole, resumed = outputs_in(tmp_path / "whole"), outputs_in(tmp_path / "resumed")
    report = run(params(control=True, epochs=1), inputs, whole, tracker=NullTracker())

    class Killed(BaseException):
        pass

    class KilledInControl(NullTracker):
        def log_metrics(self, values: Mapping[str, float], *, step: int) -> None:
            if "control_loss" in values:
                raise Killed

    with pytest.raises(Killed):
        run(params(control=True, epochs=1), inputs, resumed, tracker=KilledInControl())
    tracker = Recorder()
    assert run(params(control=True, epochs=1), inputs, resumed, tracker=tracker) == report
    assert "loss" not in tracker.names
    for name in ("model", "control"):
        one, two = whole.model.parent / name, resumed.model.parent / name
        assert sha256_of(one / "model.safetensors") == sha256_of(two / "model.safetensors")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"way": {"name": "head"}}, "no effect where the embeddings are not trained"),
        ({"way": {"name": "full", "freeze": ["embeddings.word"]}}, "no effect where the embeddings are not trained"),
        ({"optimizer": {"name": "sgd", "learning_rate": 0.1, "weight_decay": 0.0, "momentum": 0.0}}, "not for sgd"),
    ],
)
def test_sparse_embeddings_that_take_no_effect_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        params(sparse_embeddings=True, **changes)


def test_unknown_way_is_refused() -> None:
    with pytest.raises(ValidationError, match="adapters"):
        params(way={"name": "adapters"})
