"""Every kind of encoder that can be adapted, from an existing one to a folder that transformers itself opens."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer, pipeline

from components.export import quantize
from components.finetune.adapt import run as finetune
from components.models.encoder.kinds import HEAD_DROPOUT
from components.models.encoder.network import classifier_from_encoder
from components.models.storage import load
from components.params import Adapt, Load
from components.plumbing.artifacts import read_json, write_json
from components.plumbing.errors import ArtifactError, SourceError
from components.pretrain import Inputs, Outputs
from components.pretrain.load import run
from components.tasks.text_classification.compress import export_classifier
from components.tasks.text_classification.judging.torch_predictor import float_predictor
from components.tracking.tracker import NullTracker
from serving.tasks.text_classification.predictor import load_settings, load_tokenizer
from tests.finetune.rows import inputs_in, outputs_in, write_tokens
from tests.finetune.test_adapt import LORA, PARAMS
from tests.tiny import tiny_rows
from tests.tiny_encoders import make_encoder

ROWS = tiny_rows(120)
TEXTS = [text for text, _ in ROWS]
LONG, SHORT = " ".join(TEXTS[:6]), "a superb song"
MAX_TOKENS = 32


@dataclass(frozen=True)
class Adapted:
    model: Path
    predictor: Path
    pretrained: Path


def adapted(kind: str, folder: Path, **changes: Any) -> Adapted:
    """Load an encoder of a kind, and adapt it for a few steps."""
    encoder = make_encoder(kind, folder / "encoder", TEXTS)
    pad = json.loads((encoder / "config.json").read_text())["pad_token_id"]
    settings = {
        "task": "text_classification", "labels": ["negative", "positive"], "unicode": "NFKC", "mask": ["email"],
        "max_tokens": MAX_TOKENS, "pad_token_id": pad,
    }  # fmt: skip
    inputs = inputs_in(folder, settings, pretrained=folder / "pretrain" / "model")
    (inputs.predictor / "tokenizer.json").write_bytes((encoder / "tokenizer.json").read_bytes())
    tokenizer = load_tokenizer(inputs.predictor / "tokenizer.json", load_settings(inputs.predictor / "predictor.json"))
    for path, rows in ((inputs.train, ROWS[:96]), (inputs.validation, ROWS[96:])):
        write_tokens(path, rows, tokenizer)
    (folder / "pretrain").mkdir()
    outputs = Outputs(inputs.pretrained, folder / "pretrain" / "history.csv", folder / "checkpoints")
    source = Load.model_validate({"mode": "load", "source": {"kind": "file", "path": "encoder"}})
    run(source, Inputs(folder, folder, folder, inputs.predictor, folder), outputs, tracker=NullTracker())
    params = Adapt.model_validate_json(json.dumps({**PARAMS, "epochs": 1, **changes}))
    to = outputs_in(folder / "finetune")
    finetune(params, inputs, to, tracker=NullTracker())
    return Adapted(to.model, inputs.predictor, inputs.pretrained)


def measured(found: Adapted, texts: list[str]) -> np.ndarray:
    """What evaluate measures: the scores of the float model behind the predictor."""
    settings = load_settings(found.predictor / "predictor.json")
    tokenizer = load_tokenizer(found.predictor / "tokenizer.json", settings)
    return float_predictor(load(found.model), tokenizer=tokenizer, settings=settings).predict(texts)


@pytest.fixture(scope="module", params=sorted(HEAD_DROPOUT))
def each(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Adapted:
    return adapted(request.param, tmp_path_factory.mktemp(request.param))


def test_pipeline_of_transformers_gives_what_evaluate_measures(each: Adapted) -> None:
    texts = [*TEXTS[:12], LONG]
    expected = measured(each, texts)
    answers = pipeline("text-classification", str(each.model), truncation=True)(texts, top_k=None, batch_size=5)
    found = [
        [{a["label"]: a["score"] for a in answer}[label] for label in ("negative", "positive")] for answer in answers
    ]
    assert expected.std() > 0.01, "scores that differ"
    np.testing.assert_allclose(found, expected, atol=1e-4)
    (expected,) = measured(each, [SHORT])
    (answer,) = pipeline("text-classification", str(each.model))(SHORT)
    assert answer["label"] == ("negative", "positive")[expected.argmax()]
    assert answer["score"] == pytest.approx(expected.max(), abs=1e-4)


def test_folder_opens_without_a_weight_drawn_or_left_over(each: Adapted) -> None:
    model, info = AutoModelForSequenceClassification.from_pretrained(each.model, output_loading_info=True)
    assert not any(info.values())
    config = read_json(each.model / "config.json")
    assert config["architectures"] == [type(model).__name__]
    assert model.config.id2label == {0: "negative", 1: "positive"}
    assert model.config.label2id == {"negative": 0, "positive": 1}
    _, info = AutoModel.from_pretrained(each.pretrained, output_loading_info=True)
    assert not info["unexpected_keys"]
    tokenizer = AutoTokenizer.from_pretrained(each.model)
    assert tokenizer.model_max_length == MAX_TOKENS
    assert tokenizer.pad_token_id == read_json(each.predictor / "predictor.json")["pad_token_id"]
    assert None not in (tokenizer.cls_token, tokenizer.sep_token, tokenizer.unk_token or "bytes", tokenizer.mask_token)
    card = (each.model / "README.md").read_text()
    assert "library_name: transformers" in card
    assert "pipeline_tag: text-classification" in card


def test_dropout_of_the_head_is_the_setting_s(tmp_path: Path) -> None:
    for kind, name in HEAD_DROPOUT.items():
        folder = make_encoder(kind, tmp_path / kind, TEXTS)
        model = classifier_from_encoder(folder, labels=("a", "b"), dropout=0.37)
        inside = set(model.encoder.modules())
        found = {p.p for p in model.modules() if isinstance(p, torch.nn.Dropout) and p not in inside}
        assert found == {0.37}, kind
        assert name is None or getattr(model.hosted.config, name) == 0.37


@pytest.mark.parametrize("kind", ["deberta-v2", "distilbert", "modernbert", "xlm-roberta"])
def test_other_kinds_take_low_rank_additions(kind: str, tmp_path: Path) -> None:
    found = adapted(kind, tmp_path, way=LORA)
    model = pipeline("text-classification", str(found.model), truncation=True)
    scores = [answer["score"] for answer in model(TEXTS[:6])]
    np.testing.assert_allclose(scores, measured(found, TEXTS[:6]).max(axis=1), atol=1e-4)


@pytest.mark.long
def test_every_kind_is_exported_and_quantized(each: Adapted, tmp_path: Path) -> None:
    model = load(each.model)
    graph = export_classifier(model)
    quantize(graph, tmp_path / "int8.onnx")
    for content, atol in ((graph.SerializeToString(), 1e-4), ((tmp_path / "int8.onnx").read_bytes(), 0.5)):
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        for shape in ((1, 1), (1, 9), (3, 17)):
            ids, mask = torch.randint(5, 60, shape), torch.ones(shape, dtype=torch.long)
            logits = session.run(["logits"], {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})[0]
            with torch.inference_mode():
                np.testing.assert_allclose(logits, model(ids, mask), atol=atol)


def test_the_results_of_evaluate_are_those_of_the_pipeline(trained: Path) -> None:
    artifacts = trained / "artifacts" / "tiny"
    labels = read_json(artifacts / "preprocess/predictor/predictor.json")["labels"]
    rows = pq.read_table(artifacts / "evaluate/results/predictions.parquet").to_pylist()
    classify = pipeline("text-classification", str(artifacts / "finetune/model"), truncation=True)
    for row, answer in zip(rows, classify([row["text"] for row in rows]), strict=True):
        assert answer["label"] == labels[row["predicted_id"]]
        assert answer["score"] == pytest.approx(max(row["scores"]), abs=1e-4)


def test_the_documented_way_to_open_it_works_as_it_is_printed(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")
    block = text[text.index("### Opening it in transformers") :].split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(trained)
    exec(block.replace("artifacts/movie_sentiment/", "artifacts/tiny/"), {})
    assert "'label': 'positive'" in capsys.readouterr().out


def test_a_kind_that_is_not_supported_is_refused_with_those_that_are(tmp_path: Path) -> None:
    make_encoder("bert", tmp_path / "encoder", TEXTS)
    AutoModel.from_config(
        AutoConfig.for_model("xlnet", vocab_size=50, d_model=16, n_layer=1, n_head=2, d_inner=16)
    ).save_pretrained(tmp_path / "encoder")
    (tmp_path / "predictor").mkdir()
    (tmp_path / "predictor" / "tokenizer.json").write_bytes((tmp_path / "encoder" / "tokenizer.json").read_bytes())
    write_json(tmp_path / "predictor" / "predictor.json", {"max_tokens": 8})
    source = Load.model_validate({"mode": "load", "source": {"kind": "file", "path": "encoder"}})
    outputs = Outputs(tmp_path / "model", tmp_path / "history.csv", tmp_path / "checkpoints")
    inputs = Inputs(tmp_path, tmp_path, tmp_path, tmp_path / "predictor", tmp_path)
    with pytest.raises(SourceError, match=r"kind 'xlnet' .* is not supported; choose one of albert, bert, .*roberta$"):
        run(source, inputs, outputs, tracker=NullTracker())


def test_weights_that_do_not_fit_are_refused_and_never_drawn(tmp_path: Path) -> None:
    found = adapted("bert", tmp_path)
    path = found.model / "model.safetensors"
    whole = load_file(path)
    older = {name.replace("bert.", "encoder.", 1): value for name, value in whole.items() if "pooler" not in name}
    older["head.weight"], older["head.bias"] = older.pop("classifier.weight"), older.pop("classifier.bias")
    save_file(older, path)
    with pytest.raises(ArtifactError, match=r"^[^\n]*of an older version of Modelyard: \d+ are missing [^\n]*$"):
        load(found.model)
    save_file({name: value for name, value in whole.items() if "layer.1.output.dense" not in name}, path)
    with pytest.raises(ArtifactError, match=r"2 are missing \('bert.encoder.layer.1.output.dense.bias'"):
        load(found.model)
    weights = load_file(found.pretrained / "model.safetensors")
    weights.pop("encoder.layer.0.output.dense.weight")
    save_file(weights, found.pretrained / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ArtifactError, match=r"lacks 1 weights that .* asks for: 'bert.encoder.layer.0.output.dense"):
        classifier_from_encoder(found.pretrained, labels=("a", "b"), dropout=0.0)
