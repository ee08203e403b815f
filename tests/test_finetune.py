import csv
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tokenizers import Tokenizer

from components.artifacts import sha256_of
from components.errors import InputError
from components.finetune import Inputs, Outputs, class_weights, freeze, run
from components.models.encoder.network import classifier_from_encoder, load_classifier
from components.params import Finetune
from components.tracking import NullTracker
from tests.tiny import make_tiny_encoder, tiny_rows

PARAMS = {
    "seed": 0,
    "epochs": 3,
    "batch_size": 16,
    "freeze": [],
    "dropout": 0.1,
    "precision": "fp32",
    "optimizer": {"name": "adamw", "learning_rate": 3e-3, "weight_decay": 0.01, "betas": [0.9, 0.999]},
    "schedule": {"name": "linear", "warmup_share": 0.1},
    "max_grad_norm": 1.0,
    "class_weights": "none",
    "early_stopping": {"metric": "accuracy", "patience": 3},
}


def params(**changes) -> Finetune:
    return Finetune.model_validate_json(json.dumps({**PARAMS, **changes}))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Inputs:
    folder = tmp_path_factory.mktemp("finetune")
    rows = tiny_rows(240)
    encoder = make_tiny_encoder(folder / "encoder", [text for text, _ in rows])
    tokenizer = Tokenizer.from_file(str(encoder / "tokenizer.json"))
    for name, chosen in {"train": rows[:200], "validation": rows[200:]}.items():
        ids = [encoding.ids for encoding in tokenizer.encode_batch([text for text, _ in chosen])]
        label_id = [int(label == "positive") for _, label in chosen]
        columns = {
            "row": pa.array(range(len(chosen)), pa.int64()),
            "input_ids": pa.array(ids, pa.list_(pa.int32())),
            "label_id": pa.array(label_id, pa.int32()),
        }
        pq.write_table(pa.table(columns), folder / f"{name}.parquet")
    predictor = folder / "predictor.json"
    predictor.write_text(json.dumps({"labels": ["negative", "positive"], "pad_token_id": 0}))
    return Inputs(folder / "train.parquet", folder / "validation.parquet", predictor, encoder)


def outputs_in(folder) -> Outputs:
    folder.mkdir()
    return Outputs(folder / "model", folder / "history.csv", folder / "checkpoints")


@pytest.fixture(scope="module")
def trained(inputs, tmp_path_factory):
    outputs = outputs_in(tmp_path_factory.mktemp("trained") / "out")
    return outputs, run(params(), inputs, outputs, tracker=NullTracker())


def test_training_learns_what_tells_the_classes_apart(trained):
    _, report = trained
    assert report.validation_accuracy > 0.9
    assert report.num_steps == 3 * 13


def test_same_seed_gives_the_same_bytes(inputs, trained, tmp_path):
    again = outputs_in(tmp_path / "again")
    run(params(), inputs, again, tracker=NullTracker())
    outputs, _ = trained
    assert sha256_of(again.model / "model.safetensors") == sha256_of(outputs.model / "model.safetensors")
    assert again.history.read_bytes() == outputs.history.read_bytes()


def test_another_seed_gives_other_weights(inputs, trained, tmp_path):
    other = outputs_in(tmp_path / "other")
    run(params(seed=1, epochs=1), inputs, other, tracker=NullTracker())
    assert sha256_of(other.model / "model.safetensors") != sha256_of(trained[0].model / "model.safetensors")


def test_saved_model_opens_again(trained):
    outputs, _ = trained
    assert sorted(p.name for p in outputs.model.iterdir()) == ["config.json", "model.safetensors"]
    model = load_classifier(outputs.model, num_labels=2)
    ids = torch.tensor([[2, 7, 9, 3], [2, 7, 3, 0]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    together = model(ids, mask)
    alone = model(ids[1:, :3], mask[1:, :3])
    torch.testing.assert_close(together[1:], alone)


def test_history_has_a_row_an_epoch(trained):
    with trained[0].history.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert set(rows[0]) == {"epoch", "train_loss", "validation_loss", "validation_accuracy", "validation_f1_macro"}


def test_frozen_parts_keep_their_weights(inputs, tmp_path):
    outputs = outputs_in(tmp_path / "frozen")
    report = run(params(freeze=["embeddings"], epochs=1), inputs, outputs, tracker=NullTracker())
    before = classifier_from_encoder(inputs.encoder, num_labels=2, dropout=0.0)
    after = load_classifier(outputs.model, num_labels=2)
    assert torch.equal(
        before.encoder.embeddings.word_embeddings.weight, after.encoder.embeddings.word_embeddings.weight
    )
    one = before.encoder.encoder.layer[0].attention.self.query.weight
    assert not torch.equal(one, after.encoder.encoder.layer[0].attention.self.query.weight)
    assert report.num_trained_parameters < report.num_parameters


def test_unknown_part_to_freeze_is_refused_with_a_hint(inputs):
    model = classifier_from_encoder(inputs.encoder, num_labels=2, dropout=0.0)
    with pytest.raises(InputError, match=r"begins with 'embedings' .did you mean 'embeddings'"):
        freeze(model, ("embedings",))


def test_balanced_class_weights_are_those_of_scikit_learn():
    from sklearn.utils.class_weight import compute_class_weight

    label_id = np.array([0] * 7 + [1] * 2 + [2])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=label_id)
    np.testing.assert_allclose(class_weights("balanced", label_id, num_labels=3).numpy(), expected, rtol=1e-6)
    assert class_weights("none", label_id, num_labels=3).tolist() == [1, 1, 1]
