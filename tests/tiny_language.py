"""Tiny language models of random weights and a tokenizer over bytes, for tests of stepping, writing and serving."""

from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import nn

from components.artifacts import write_json
from components.models.facts import read_facts
from components.models.settings import settings_of
from components.models.storage import build, save
from components.params import TrainedTokenizer
from components.preprocess.tokenizer_training import train_tokenizer
from serving.predictors.text_generation import load_tokenizer
from tests.tiny import tiny_rows

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
    settings = settings_of(family).model_validate({"family": family, **SETTINGS[family]})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build(settings, read_facts(predictor)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4.0)
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
