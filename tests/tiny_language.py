"""Tiny language models of random weights and a tokenizer over bytes, for tests of stepping, writing and serving."""

from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import nn

from components.compress import stage
from components.models.facts import read_facts
from components.models.storage import build, save
from components.package.bundle import write_bundle
from components.params import Compress, CompressionGate, Int8, TextGenerationServing, TrainedTokenizer
from components.params.families import FAMILIES
from components.plumbing.artifacts import Layout, read_json, write_json, writing
from components.preprocess.tokenizer_training import train_tokenizer
from components.recipes import load_yaml
from components.tasks import task_of
from components.tracking.tracker import NullTracker
from serving.tasks.text_generation.predictor import load_tokenizer
from tests.projects import ROOT
from tests.tiny import tiny_rows
from tests.tiny_bundles import project_of

CONTEXT = 16
VOCAB_SIZE = 320
SETTINGS: dict[str, dict[str, Any]] = {
    "gpt": {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "dropout": 0.1},
    "lstm": {"embedding_size": 24, "hidden_size": 32, "num_layers": 2, "dropout": 0.1},
}
TEXTS = [f"{text}. Caf\u00e9 {text}!" for text, _ in tiny_rows(40)]


@cache
def tokenizer_json() -> bytes:
    """A tokenizer that knows every byte, and ends texts with token 0."""
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.json"
        params = TrainedTokenizer(kind="train", algorithm="bpe", vocab_size=VOCAB_SIZE, lowercase=False)
        train_tokenizer(TEXTS, params, path=path)
        return path.read_bytes()


def make_predictor(folder: Path) -> Path:
    """preprocess's `predictor/`. Gives `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_bytes(tokenizer_json())
    write_json(
        folder / "predictor.json",
        {
            "task": "text_generation", "unicode": "NFC", "context": CONTEXT, "vocab_size": VOCAB_SIZE,
            "end_of_text_id": 0, "pad_token_id": 0,
        },
    )  # fmt: skip
    return folder


def make_model(folder: Path, family: str) -> nn.Module:
    """A model of large random weights, so that what it says hangs on what it has read; saved below `folder`."""
    predictor = make_predictor(folder / "predictor")
    settings = FAMILIES[family].model_validate({"family": family, **SETTINGS[family]})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build(settings, read_facts(predictor)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_({"gpt": 4.0, "lstm": 1.5}[family])
    save(model, folder / "model", family=family, settings=settings, facts=read_facts(predictor))
    return model


def write_documents(path: Path, texts: list[str]) -> None:
    """A split of documents."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tokenizer = load_tokenizer(Path(path.parent) / "predictor" / "tokenizer.json")
    columns = {
        "row": pa.array(range(len(texts)), pa.int64()),
        "text": texts,
        "input_ids": [[*tokenizer.encode(text).ids, 0] for text in texts],
        "num_bytes": [len(text.encode()) for text in texts],
    }
    pq.write_table(pa.table(columns), path)


def compress(root: Path, family: str) -> Path:
    """Run compress on a model of random weights. Gives the artifact's folder."""
    layout = Layout(root, "tiny", "compress")
    with writing(layout.of("preprocess")) as folder:
        make_predictor(folder / "predictor")
        for split, texts in (("train", []), ("unlabelled", []), ("validation", TEXTS[:12]), ("test", TEXTS[12:24])):
            write_documents(folder / f"{split}.parquet", texts)
    with writing(layout.of("finetune")) as folder:
        make_model(folder, family)
    with writing(layout.of("evaluate")) as folder:
        (folder / "results").mkdir()
    layout.renew_observations()
    params = Compress(
        candidates=(Int8(method="int8"),),
        gate=CompressionGate(max_drop=0.5, min_speedup=0.01, max_size_ratio=10.0),
        threads=2,
        num_latency_rows=20,
    )
    task = task_of("text_generation")
    with writing(layout.artifact) as folder:
        outputs = layout.outputs(stage.Outputs, folder=folder, fingerprint="")
        report = stage.run(
            params,
            layout.inputs(stage.Inputs),
            outputs,
            tracker=NullTracker(),
            make_trial=task.compress,
            drop=task.drop,
        )
        write_json(folder / "report.json", asdict(report))
    return layout.artifact


def write_language_bundle(folder: Path) -> Path:
    """The bundle of a tiny language model, which may write for minutes."""
    compressed = compress(folder, "gpt")
    of_top: Any = {"task": "text_generation", "threads": 2}
    limits = load_yaml(ROOT / "params.yaml")["recipes"]["speech_gpt"]["package"]["serving"]
    reports = {
        "card": {"licence": "CC0", "num_rows": 40}, "verdict": {"passed": True}, "evaluated": {},
        "compressed": read_json(compressed / "report.json"),
    }  # fmt: skip
    bundle = folder / "artifacts/tiny/package/bundle"
    bundle.parent.mkdir(parents=True)
    write_bundle(
        bundle, recipe="tiny_language", model=compressed / "model",
        golden=read_json(compressed / "results/golden.json"),
        serving=TextGenerationServing(**of_top, **limits | {"max_prompt_tokens": 12, "max_new_tokens": 1_000_000}),
        project=project_of(folder, "tiny_language"), reports=reports, drop=task_of("text_generation").drop,
    )  # fmt: skip
    return bundle
