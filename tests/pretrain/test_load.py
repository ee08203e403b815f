import json
import os
import pickle
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, BertConfig, BertForMaskedLM

from components.params import FileSource, Load
from components.plumbing.artifacts import files_of, sha256_of
from components.plumbing.errors import SourceError
from components.pretrain import Inputs, Outputs
from components.pretrain.load import Report, run
from components.tracking.tracker import NullTracker
from tests.tiny import make_tiny_encoder, tiny_rows

TEXTS = [text for text, _ in tiny_rows(60)]


class Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.abort, ()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return make_tiny_encoder(tmp_path / "source", TEXTS)


def pretrain(folder: Path, *, tokenizer: Path | None = None, name: str = "out") -> tuple[Report, Path]:
    """Run the stage with the encoder of `folder`."""
    target = folder.parent / name
    predictor = folder.parent / f"{name}.predictor"
    predictor.mkdir(exist_ok=True)
    shutil.copyfile(tokenizer or folder / "tokenizer.json", predictor / "tokenizer.json")
    (predictor / "predictor.json").write_text("{}")
    params = Load(mode="load", source=FileSource(kind="file", path=folder.name))
    target.mkdir(exist_ok=True)
    outputs = Outputs(target / "model", target / "history.csv", target / "checkpoints")
    splits = [folder.parent / f"{split}.parquet" for split in ("train", "validation", "unlabelled")]
    report = run(params, Inputs(*splits, predictor, folder.parent), outputs, tracker=NullTracker())
    assert not list(outputs.checkpoints.rglob("*.safetensors"))
    return report, outputs.model


def test_only_what_the_model_needs_is_written_and_the_model_is_the_same(source: Path) -> None:
    for name in ("README.md", "model.onnx", "vocab.txt", "tokenizer_config.json"):
        (source / name).write_bytes(b"0.1 some other file")
    report, encoder = pretrain(source)
    assert sorted(files_of(encoder)) == [
        "README.md", "config.json", "family.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"
    ]  # fmt: skip
    assert "some other" not in (encoder / "README.md").read_text()
    assert "some other" not in (encoder / "tokenizer_config.json").read_text()
    model, original = (AutoModel.from_pretrained(folder).eval() for folder in (encoder, source))
    ids = torch.tensor([[2, 7, 8, 9, 3]])
    assert torch.equal(model(ids).last_hidden_state, original(ids).last_hidden_state)
    assert report.num_parameters == sum(p.numel() for p in original.parameters())


def test_report_describes_the_encoder(source: Path) -> None:
    report, encoder = pretrain(source)
    vocab_size = json.loads((source / "config.json").read_text())["vocab_size"]
    assert (report.architecture, report.hidden_size, report.num_layers) == ("BertModel", 32, 2)
    assert report.vocab_size == vocab_size
    assert report.num_parameters_embeddings == (vocab_size + 128 + 2) * 32
    assert report.sha256 == sha256_of(encoder / "model.safetensors")
    assert report.size_bytes == (encoder / "model.safetensors").stat().st_size


def test_the_same_source_gives_the_same_bytes(source: Path) -> None:
    assert files_of(pretrain(source, name="a")[1]) == files_of(pretrain(source, name="b")[1])


def test_config_tells_nothing_of_where_it_was_saved(source: Path) -> None:
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(config | {"_name_or_path": "/home/me", "transformers_version": "1"}))
    saved = json.loads((pretrain(source)[1] / "config.json").read_text())
    assert saved["model_type"] == "bert"
    assert saved["architectures"] == ["BertModel"]
    assert not {"_name_or_path", "transformers_version", "auto_map"} & saved.keys()


def test_heads_are_dropped(source: Path, tmp_path: Path) -> None:
    config = BertConfig.from_pretrained(source)
    headed = tmp_path / "headed"
    BertForMaskedLM(config).save_pretrained(headed)
    shutil.copyfile(source / "tokenizer.json", headed / "tokenizer.json")
    report, encoder = pretrain(headed)
    names = load_file(encoder / "model.safetensors").keys()
    assert report.architecture == "BertModel"
    assert not [name for name in names if name.startswith(("cls", "pooler", "bert"))]


def test_a_pooler_is_kept_where_there_is_one(source: Path) -> None:
    """It is the first layer of a classifier's head."""
    theirs = load_file(source / "model.safetensors")["pooler.dense.weight"]
    assert torch.equal(load_file(pretrain(source)[1] / "model.safetensors")["pooler.dense.weight"], theirs)


def test_shards_become_one_file(source: Path) -> None:
    weights = load_file(source / "model.safetensors")
    whole = pretrain(source, name="whole")[1]
    (source / "model.safetensors").unlink()
    names = sorted(weights)
    shards = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    for shard, within in shards.items():
        save_file({name: weights[name] for name in within}, source / shard, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": {name: shard for shard, within in shards.items() for name in within}}
    (source / "model.safetensors.index.json").write_text(json.dumps(index))
    assert files_of(pretrain(source)[1]) == files_of(whole)


def test_shards_outside_the_folder_are_refused(source: Path) -> None:
    shutil.move(source / "model.safetensors", source.parent / "model.safetensors")
    index = {"weight_map": {"a": "../model.safetensors"}}
    (source / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(SourceError, match=r"names '../model.safetensors'; it may name safetensors of its own folder"):
        pretrain(source)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "sub/optimizer.PT", "scaler.pkl", "last.ckpt"])
def test_a_pickle_by_its_name_is_refused(source: Path, name: str) -> None:
    (source / name).parent.mkdir(exist_ok=True)
    (source / name).write_bytes(b"")
    with pytest.raises(SourceError, match=rf"^{name} is a pickle, which can run code"):
        pretrain(source)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", ["notes.md", "tokenizer.model", "model.safetensors"])
def test_a_pickle_under_another_name_is_refused(source: Path, name: str, protocol: int) -> None:
    (source / name).write_bytes(pickle.dumps(Harmful(), protocol=protocol))
    with pytest.raises(SourceError, match=rf"^{name} is a pickle"):
        pretrain(source)


def test_what_torch_saves_is_refused_under_another_name(source: Path) -> None:
    for number, is_zip in enumerate((True, False)):
        path = source / f"weights{number}.dat"
        torch.save({"a": torch.ones(2)}, path, _use_new_zipfile_serialization=is_zip)
        with pytest.raises(SourceError, match=rf"^weights{number}.dat is a pickle"):
            pretrain(source)
        path.unlink()


@pytest.mark.parametrize("size", [0x0280, 0x0380, 0x0480, 0x0580])
def test_weights_whose_length_looks_like_the_mark_of_a_pickle_are_taken(source: Path, size: int) -> None:
    header = json.dumps({"t": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode().ljust(size)
    (source / "extra.safetensors").write_bytes(struct.pack("<Q", size) + header + b"\0" * 4)
    assert load_file(source / "extra.safetensors").keys() == {"t"}
    assert pretrain(source)[0].architecture == "BertModel"


@pytest.mark.parametrize("damage", ["short", "header", "empty", "text"])
def test_broken_weights_are_refused(source: Path, damage: str) -> None:
    path = source / "model.safetensors"
    whole = path.read_bytes()
    broken = {
        "short": whole[:-100],
        "header": struct.pack("<Q", 2**62) + whole[8:],
        "empty": b"",
        "text": b"version https://git-lfs.github.com/spec/v1",
    }
    path.write_bytes(broken[damage])
    with pytest.raises(SourceError, match=r"model.safetensors is not a whole safetensors file"):
        pretrain(source)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_missing_file_is_named(source: Path, name: str) -> None:
    tokenizer = shutil.copyfile(source / "tokenizer.json", source.parent / "tokenizer.json")
    (source / name).unlink()
    with pytest.raises(SourceError, match=rf"has no {name}; it holds "):
        pretrain(source, tokenizer=tokenizer)


def test_missing_weights_are_refused_instead_of_being_drawn(source: Path) -> None:
    weights = load_file(source / "model.safetensors")
    weights.pop("encoder.layer.1.output.dense.weight")
    save_file(weights, source / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(SourceError, match=r"lacks 1 weights .* 'encoder.layer.1.output.dense.weight'"):
        pretrain(source)


def test_weights_of_another_shape_are_refused(source: Path) -> None:
    weights = load_file(source / "model.safetensors")
    weights["embeddings.position_embeddings.weight"] = torch.zeros(7, 32)
    save_file(weights, source / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(SourceError, match=r"no encoder can be made of config.json \(model_type 'bert'\)"):
        pretrain(source)


def test_weights_that_are_not_finite_are_refused(source: Path) -> None:
    weights = load_file(source / "model.safetensors")
    weights["encoder.layer.0.output.dense.bias"][3] = float("nan")
    save_file(weights, source / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(SourceError, match=r"not finite, in 'encoder.layer.0.output.dense.bias'"):
        pretrain(source)


def test_code_of_a_model_is_never_run(source: Path) -> None:
    config = json.loads((source / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config", "AutoModel": "mine.Model"}}
    (source / "config.json").write_text(json.dumps(config))
    (source / "mine.py").write_text("raise SystemExit('this ran')")
    with pytest.raises(
        SourceError, match=r"an encoder of the kind 'mine' \(model_type of its config.json\) is not supported"
    ):
        pretrain(source)


def test_another_tokenizer_is_refused(source: Path) -> None:
    other = make_tiny_encoder(source.parent / "other", ["entirely different words"])
    with pytest.raises(SourceError, match=r"is not the one that preprocess used .* name the same folder"):
        pretrain(source, tokenizer=other / "tokenizer.json")


def test_a_tokenizer_that_differs_in_layout_only_is_taken(source: Path) -> None:
    compact = source.parent / "compact.json"
    compact.write_text(json.dumps(json.loads((source / "tokenizer.json").read_text())))
    _, encoder = pretrain(source, tokenizer=compact)
    assert (encoder / "tokenizer.json").read_bytes() == compact.read_bytes()


def test_an_encoder_too_small_for_its_tokenizer_is_refused(source: Path) -> None:
    make_tiny_encoder(source.parent / "small", TEXTS, vocab_size=30)
    for name in ("config.json", "model.safetensors"):
        shutil.copyfile(source.parent / "small" / name, source / name)
    with pytest.raises(SourceError, match=r"numbers tokens up to \d+, but the encoder knows 30"):
        pretrain(source)
