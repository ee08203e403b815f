"""A tiny perceptron on tiny pictures as the artifacts of a recipe `tiny`, up to evaluate."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.evaluate.figures import GATE_METRIC
from components.evaluate.page import write_page
from components.plumbing.artifacts import PAGE, write_json
from tests.projects import tiny_recipe, write_params
from tests.tiny_model import finish_all, new

LABELS = ["left", "right", "middle"]
SHAPE = (6, 9)  # height, width: not square, so that one taken for the other is found
SETTINGS = {"task": "array_classification", "labels": LABELS, "shape": list(SHAPE), "offset": 127.5, "scale": 127.5}
LIMITS = {
    "threads": 2,
    "max_arrays": 8,
    "max_image_bytes": 4000,
    "max_requests": 64,
    "max_read_ms": 5000,
    "max_latency_ms": 1000,
}


def tiny_pictures(n: int) -> tuple[np.ndarray, np.ndarray]:
    """`n` pictures of whole grey values (n, height, width) and the numbers of their labels: where the light is."""
    rng = np.random.default_rng(0)
    label_id = np.arange(n) % len(LABELS)
    pictures = rng.integers(0, 90, (n, *SHAPE)).astype(np.float32)
    for picture, label in zip(pictures, label_id, strict=True):
        first = {"left": 0, "right": 6, "middle": 3}[LABELS[label]]
        picture[:, first : first + 3] += 120
    return pictures, label_id


def array_recipe() -> dict[str, Any]:
    """The tiny recipe, for pictures."""
    recipe = tiny_recipe()
    recipe |= {"task": "array_classification", "family": "mlp"}
    recipe["preprocess"] = {
        "shape": list(SHAPE), "offset": 127.5, "scale": 127.5, "conflicts": "remove",
        "split": recipe["preprocess"]["split"],
    }  # fmt: skip
    recipe["pretrain"] = {"mode": "none"}
    finetune = {key: value for key, value in recipe["finetune"].items() if key not in ("way", "dropout", "control")}
    model = {"hidden_sizes": [16], "activation": "relu", "batch_norm": True, "dropout": 0.0}
    recipe["finetune"] = finetune | {"mode": "train", "source": None, "model": model, "augment": None}
    recipe["evaluate"] |= {"baseline": {"C": 1.0}}
    recipe["package"]["serving"] = {name: limit for name, limit in LIMITS.items() if name != "threads"}
    return recipe


def make_trained_arrays(root: Path) -> Path:
    """Write params.yaml, dvc.lock and the artifacts of a recipe `tiny` up to evaluate. Gives `root`."""
    import torch

    from components.models.facts import read_facts
    from components.models.storage import build, load, save
    from components.params.families.mlp import MlpSettings
    from components.tasks.array_classification.judging.torch_predictor import float_array_predictor
    from serving.tasks.array_classification.predictor import load_settings

    write_params(root, {"tiny": array_recipe()})
    preprocess, finetune, evaluate = (new(root / "artifacts/tiny" / n) for n in ("preprocess", "finetune", "evaluate"))
    pictures, label_id = tiny_pictures(300)
    write_json(new(preprocess / "predictor") / "predictor.json", SETTINGS)
    splits = {"train": range(180), "validation": range(180, 240), "test": range(240, 300), "unlabelled": range(0)}
    for name, chosen in splits.items():
        write_arrays(preprocess / f"{name}.parquet", pictures, label_id, chosen)
    family = MlpSettings.model_validate({"family": "mlp", **array_recipe()["finetune"]["model"]}, strict=False)
    facts = read_facts(preprocess / "predictor")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build(family, facts)
    train(model, torch.from_numpy((pictures[:180].reshape(180, -1) - 127.5) / 127.5), torch.from_numpy(label_id[:180]))
    save(model, finetune / "model", family="mlp", settings=family, facts=facts)
    settings = load_settings(preprocess / "predictor/predictor.json")
    scores = float_array_predictor(load(finetune / "model"), settings=settings).predict(pictures[240:])
    results = new(evaluate / "results") / "predictions.parquet"
    write_arrays(results, pictures, label_id, range(240, 300), scores=scores)
    write_json(evaluate / "results" / GATE_METRIC, {"metric": "accuracy"})
    write_page(evaluate / "results" / PAGE, title="tiny", headline=["It is tiny."], faults=[], parts=[])
    finish_all(root, array_recipe())
    return root


def write_arrays(
    path: Path, pictures: np.ndarray, label_id: np.ndarray, chosen: range, *, scores: np.ndarray | None = None
) -> None:
    columns: dict[str, Any] = {
        "row": pa.array(list(chosen), pa.int64()),
        "label_id": pa.array(label_id[list(chosen)], pa.int64()),
        "values": pa.array(list(pictures[list(chosen)].reshape(len(chosen), math.prod(SHAPE))), pa.list_(pa.float32())),
    }
    if scores is not None:
        columns["scores"] = pa.array(scores.tolist(), pa.list_(pa.float32()))
    pq.write_table(pa.table(columns), path)


def train(model: Any, values: Any, labels: Any) -> None:
    """Enough steps to tell where the light is."""
    import torch

    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    model.train()
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(model(values), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
