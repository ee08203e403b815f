"""Tiny trained classifiers as the artifacts of a recipe `tiny`, up to evaluate, for tests of what comes after."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from ruamel.yaml import YAML

from components.evaluate.figures import GATE_METRIC
from components.evaluate.page import write_page
from components.plumbing.artifacts import FILES, PAGE, REPORT, files_of, sha256_of, write_json
from components.recipes import stages
from serving.tasks.text_classification.predictor import load_settings, load_tokenizer
from tests.projects import ROOT, tiny_recipe, write_params
from tests.tiny import make_tiny_encoder, tiny_rows

LABELS = ["negative", "positive"]
SETTINGS = {
    "task": "text_classification", "labels": LABELS, "unicode": "NFKC", "mask": ["email", "url"], "max_tokens": 32,
    "pad_token_id": 0,
}  # fmt: skip
EVALUATED = {
    "accuracy": 0.99, "accuracy_low": 0.97, "accuracy_high": 1.0, "baseline_accuracy": 0.9, "baseline_f1_macro": 0.9,
    "confidence": 0.95, "ece": 0.01, "f1_macro": 0.99, "gain": 0.09, "gain_low": 0.05, "gain_high": 0.13,
    "num_test": 60, "roc_auc": 0.99,
}  # fmt: skip


def make_trained(root: Path) -> Path:
    """Write params.yaml, dvc.lock and the artifacts of a recipe `tiny` up to evaluate. Gives `root`."""
    import torch

    from components.models.encoder.network import classifier_from_encoder
    from components.models.facts import read_facts
    from components.models.opening import make_openable
    from components.models.storage import load, save
    from components.tasks.text_classification.judging.torch_predictor import float_predictor

    rows = tiny_rows(300)
    artifacts = root / "artifacts" / "tiny"
    encoder = make_tiny_encoder(root / "encoder", [text for text, _ in rows])
    write_params(root, {"tiny": tiny_recipe()})
    preprocess, finetune, evaluate = (new(artifacts / name) for name in ("preprocess", "finetune", "evaluate"))
    predictor = new(preprocess / "predictor")
    (predictor / "tokenizer.json").write_bytes((encoder / "tokenizer.json").read_bytes())
    write_json(predictor / "predictor.json", SETTINGS)
    settings = load_settings(predictor / "predictor.json")
    tokenizer = load_tokenizer(predictor / "tokenizer.json", settings)
    for name, chosen in (("train", range(180)), ("validation", range(180, 240)), ("test", range(240, 300))):
        write_split(preprocess / f"{name}.parquet", rows, chosen, tokenizer=tokenizer)
    write_split(preprocess / "unlabelled.parquet", rows, range(0), tokenizer=tokenizer)

    with torch.random.fork_rng():  # the same model, whatever ran before
        torch.manual_seed(1)
        model: Any = classifier_from_encoder(encoder, labels=LABELS, dropout=0.0)
        train(model, tokenizer, rows[:180])
    save(model, finetune / "model", family="encoder", settings=None, facts=read_facts(predictor))
    make_openable(finetune / "model", predictor=predictor)
    model = load(finetune / "model")
    scores = float_predictor(model, tokenizer=tokenizer, settings=settings).predict([text for text, _ in rows[240:]])
    write_split(
        new(evaluate / "results") / "predictions.parquet", rows, range(240, 300), tokenizer=tokenizer, scores=scores
    )
    write_json(evaluate / "results" / GATE_METRIC, {"metric": "accuracy"})
    write_page(evaluate / "results" / PAGE, title="tiny", headline=["It is tiny."], faults=[], parts=[])
    finish_all(root, tiny_recipe())
    return root


def finish_all(root: Path, recipe: dict[str, Any]) -> None:
    """The artifacts of the stages that made no model, what makes each whole, and dvc.lock."""
    artifacts = root / "artifacts" / "tiny"
    write_json(new(artifacts / "ingest") / "card.json", {"licence": "CC0", "num_rows": 300})
    write_json(new(artifacts / "validate") / "verdict.json", {"passed": True})
    for folder in artifacts.iterdir():
        finish(folder, EVALUATED if folder.name == "evaluate" else {})
    write_lock(root, recipe)


def new(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def finish(folder: Path, report: dict[str, Any]) -> None:
    """What `writing` adds to a folder."""
    write_json(folder / REPORT, report)
    write_json(folder / FILES, files_of(folder))


def write_split(
    path: Path, rows: list[tuple[str, str]], chosen: range, *, tokenizer: Any = None,
    scores: np.ndarray | None = None,
) -> None:  # fmt: skip
    """Write some of the rows as a split, with their token ids where a tokenizer is given."""
    texts = [rows[index][0] for index in chosen]
    columns: dict[str, Any] = {
        "row": pa.array(list(chosen), pa.int64()),
        "text": pa.array(texts, pa.string()),
        "label_id": pa.array([LABELS.index(rows[index][1]) for index in chosen], pa.int64()),
    }
    if tokenizer is not None:
        columns["input_ids"] = pa.array([one.ids for one in tokenizer.encode_batch(texts)], pa.list_(pa.int64()))
    if scores is not None:
        columns["predicted_id"] = pa.array(scores.argmax(axis=1), pa.int64())
        columns["scores"] = pa.array(scores.tolist(), pa.list_(pa.float32()))
    pq.write_table(pa.table(columns), path)


def train(model: Any, tokenizer: Any, rows: list[tuple[str, str]]) -> None:
    """Enough steps to know the moods."""
    import torch

    encodings = [torch.tensor(encoding.ids) for encoding in tokenizer.encode_batch([text for text, _ in rows])]
    ids = torch.nn.utils.rnn.pad_sequence(encodings, batch_first=True)
    labels = torch.tensor([LABELS.index(label) for _, label in rows])
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    model.train()
    for step in range(60):
        chosen = torch.arange(step * 30, step * 30 + 30) % len(rows)
        mask = (ids[chosen] != 0).long()
        loss = torch.nn.functional.cross_entropy(model(ids[chosen], mask), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def write_lock(root: Path, recipe: dict[str, Any]) -> None:
    """The project's dvc.yaml, and a dvc.lock such as DVC leaves after the stages that are there."""
    shutil.copy(ROOT / "dvc.yaml", root)
    locked = {
        f"{stage}@tiny": {
            "cmd": f"python -m components {stage} tiny",
            "params": {"params.yaml": {f"recipes.tiny.{stage}": recipe[stage]}},
            "outs": [
                {
                    "path": f"artifacts/tiny/{stage}/{name}",
                    "md5": sha256_of(root / "artifacts/tiny" / stage / name)[:32],
                }
                for name in ("card.json", REPORT)
                if (root / "artifacts/tiny" / stage / name).is_file()
            ],
        }
        for stage in stages()
    }
    YAML().dump({"schema": "2.0", "stages": locked}, root / "dvc.lock")
