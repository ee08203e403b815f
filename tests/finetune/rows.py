"""Inputs of finetune on disk, as the stages before it leave them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tokenizers import Tokenizer

from components.finetune import Inputs, Outputs
from components.plumbing.artifacts import write_json
from tests.tiny import make_tiny_encoder, tiny_rows


def text_inputs(folder: Path) -> Inputs:
    """200 + 40 tiny texts of two classes, and a tiny encoder."""
    rows = tiny_rows(240)
    encoder = make_tiny_encoder(folder / "encoder", [text for text, _ in rows])
    tokenizer = Tokenizer.from_file(str(encoder / "tokenizer.json"))
    for name, chosen in {"train": rows[:200], "validation": rows[200:]}.items():
        write_tokens(folder / f"{name}.parquet", chosen, tokenizer)
    settings = {
        "task": "text_classification", "labels": ["negative", "positive"], "pad_token_id": 0, "max_tokens": 32,
        "vocab_size": tokenizer.get_vocab_size(),
    }  # fmt: skip
    inputs = inputs_in(folder, settings, pretrained=encoder)
    shutil.copyfile(encoder / "tokenizer.json", inputs.predictor / "tokenizer.json")
    return inputs


def write_tokens(path: Path, rows: list[tuple[str, str]], tokenizer: Tokenizer) -> None:
    """A split of texts with their token ids."""
    ids = [encoding.ids for encoding in tokenizer.encode_batch([text for text, _ in rows])]
    columns = {
        "row": pa.array(range(len(rows)), pa.int64()),
        "input_ids": pa.array(ids, pa.list_(pa.int32())),
        "label_id": pa.array([int(label == "positive") for _, label in rows], pa.int32()),
    }
    pq.write_table(pa.table(columns), path)


def array_inputs(folder: Path, *, shape: tuple[int, ...] = (6, 4), num_rows: int = 200) -> Inputs:
    """Arrays from 0 to 255 of two classes: the first half of the numbers is brighter, or the second."""
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(0)
    for name, count in {"train": num_rows, "validation": 40}.items():
        label_id = np.arange(count) % 2
        values = random.integers(0, 128, size=(count, int(np.prod(shape)))).astype(np.float32)
        half = values.shape[1] // 2
        for row, label in enumerate(label_id):
            values[row, label * half : (label + 1) * half] += 100
        columns = {
            "row": pa.array(range(count), pa.int64()),
            "label_id": pa.array(label_id, pa.int32()),
            "values": pa.array(list(values), pa.list_(pa.float32())),
        }
        pq.write_table(pa.table(columns), folder / f"{name}.parquet")
    settings = {
        "task": "array_classification", "labels": ["first", "second"], "shape": list(shape), "offset": 0.0,
        "scale": 255.0,
    }  # fmt: skip
    (folder / "pretrained").mkdir()
    return inputs_in(folder, settings, pretrained=folder / "pretrained")


def inputs_in(folder: Path, settings: dict, *, pretrained: Path) -> Inputs:
    predictor = folder / "predictor"
    predictor.mkdir()
    write_json(predictor / "predictor.json", settings)
    return Inputs(folder / "train.parquet", folder / "validation.parquet", predictor, pretrained, folder)


def outputs_in(folder: Path) -> Outputs:
    folder.mkdir(parents=True)
    return Outputs(folder / "model", folder / "control", folder / "history.csv", folder / "checkpoints")


def as_json(settings: dict, **changes: object) -> str:
    """Settings as params.yaml would give them, for strict validation."""
    return json.dumps({**settings, **changes})
