"""A model of the Hugging Face hub, as a local folder that is laid out as the hub's own cache."""

import json
import shutil
import textwrap
from pathlib import Path

import pytest
import torch
from ruamel.yaml import YAML
from transformers import AutoModel

from components.models.encoder.network import classifier_from_encoder
from components.params import HubSource, Load, TextClassificationData
from components.plumbing.artifacts import sha256_of
from components.plumbing.errors import SourceError
from components.pretrain import Inputs, Outputs
from components.pretrain.load import run
from components.recipes import load_yaml, parse_recipe
from components.tracking.tracker import NullTracker
from tests.tiny import make_tiny_encoder

REVISION = "8f23c25b06e129b6c986331a13d8d025a92cf0ea"
TEXTS = ["房间很好服务也好", "屏幕太暗键盘不好用", "书的内容很一般"]


def make_snapshot(folder: Path) -> Path:
    """A BERT for Chinese as the hub's client leaves it: blobs by their digest, and a snapshot of links to them."""
    made = make_tiny_encoder(folder / "made", TEXTS)
    (made / "README.md").write_text("A model card.", encoding="utf-8")
    repo = folder / "models--google-bert--bert-base-chinese"
    snapshot, blobs = repo / "snapshots" / REVISION, repo / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for path in sorted(made.iterdir()):
        blob = blobs / sha256_of(path)
        shutil.move(path, blob)
        (snapshot / path.name).symlink_to(blob)
    return snapshot


def pretrain(project: Path, snapshot: Path) -> Path:
    """Run the stage with the snapshot as its source; gives the model's folder."""
    predictor, target = project / "predictor", project / "artifact"
    predictor.mkdir()
    target.mkdir()
    shutil.copyfile(snapshot / "tokenizer.json", predictor / "tokenizer.json")
    (predictor / "predictor.json").write_text(json.dumps({"max_tokens": 64, "pad_token_id": 0}))
    source = HubSource(
        kind="hub",
        repo=f"./{snapshot.parent.parent.name}",
        repo_type="model",
        revision=REVISION,
        pattern="[cmt]o*",
    )
    outputs = Outputs(target / "model", target / "history.csv", project / "checkpoints")
    splits = [project / f"{split}.parquet" for split in ("train", "validation", "unlabelled")]
    inputs = Inputs(*splits, predictor, project)
    run(Load(mode="load", source=source), inputs, outputs, tracker=NullTracker())
    return outputs.model


def test_a_snapshot_of_the_hub_takes_the_place_of_pretraining(tmp_path: Path) -> None:
    snapshot = make_snapshot(tmp_path)
    folder = pretrain(tmp_path, snapshot)
    expected = AutoModel.from_pretrained(snapshot, add_pooling_layer=False).eval()
    classifier = classifier_from_encoder(folder, labels=("negative", "positive"), dropout=0.0).eval()
    ids = torch.tensor([[2, 7, 8, 9, 3]])
    with torch.inference_mode():
        hidden = classifier.encoder(ids).last_hidden_state
        torch.testing.assert_close(hidden, expected(ids).last_hidden_state)
        assert classifier(ids, torch.ones_like(ids)).shape == (1, 2)


def test_a_changed_file_of_the_snapshot_is_refused(tmp_path: Path) -> None:
    snapshot = make_snapshot(tmp_path)
    blob = (snapshot / "config.json").resolve()
    blob.write_bytes(blob.read_bytes() + b"\n")
    with pytest.raises(SourceError, match=r"config\.json has digest \w+, but the hub's is"):
        pretrain(tmp_path, snapshot)


def test_the_documented_swap_is_a_valid_recipe() -> None:
    text = (Path(__file__).parents[2] / "docs" / "review_sentiment_zh.md").read_text(encoding="utf-8")
    block = textwrap.dedent(text[text.index("    objective: ") :].split("\n\n")[0])
    documented = YAML(typ="safe").load(block)
    swapped = load_yaml(Path(__file__).parents[2] / "params.yaml")["recipes"]["review_sentiment_zh"]
    swapped["objective"] = documented["objective"]
    swapped["preprocess"] |= documented["preprocess"]
    swapped["pretrain"] = documented["pretrain"]
    recipe = parse_recipe("review_sentiment_zh", swapped)
    assert isinstance(recipe.pretrain, Load)
    assert isinstance(recipe.preprocess, TextClassificationData)
    assert recipe.pretrain.source == recipe.preprocess.tokenizer
