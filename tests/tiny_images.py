"""Tiny images of four classes, a GAN's recipe for them, and the artifacts of a recipe `tiny` up to evaluate."""

import copy
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from ruamel.yaml import YAML

from components.plumbing.artifacts import write_json
from components.recipes import stages
from tests.projects import ROOT, tiny_recipe, write_params
from tests.tiny_model import finish, new

SHAPE = (8, 8)
LABELS = ["bottom", "left", "right", "top"]
SETTINGS = {
    "task": "image_generation", "labels": LABELS, "shape": list(SHAPE), "offset": 127.5, "scale": 127.5,
}  # fmt: skip
SPLITS = {"train": 240, "validation": 60, "test": 80}
ADAM = {"name": "adam", "learning_rate": 1.0e-3, "weight_decay": 0.0, "betas": [0.5, 0.999]}


def tiny_images(num_rows: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 8, 8) of 0 to 255 with a bright bar on one side, a little askew, and the side of each."""
    random = np.random.default_rng(seed)
    label_id = np.arange(num_rows) % len(LABELS)
    images = random.integers(0, 40, size=(num_rows, *SHAPE))
    for image, label in zip(images, label_id, strict=True):
        at, bright, begin = random.integers(0, 2), random.integers(160, 255), random.integers(0, 3)
        lines = {0: image[7 - at], 1: image[:, at], 2: image[:, 7 - at], 3: image[at]}
        lines[int(label)][begin : begin + 6] = bright
    return images.astype(np.uint8), label_id


def write_images(path: Path, images: np.ndarray, label_id: np.ndarray) -> None:
    """A split as preprocess leaves it."""
    columns = {
        "row": pa.array(range(len(images)), pa.int64()),
        "label": [LABELS[label] for label in label_id],
        "label_id": pa.array(label_id, pa.int32()),
        "values": pa.array(list(images.reshape(len(images), -1).astype(np.float32)), pa.list_(pa.float32())),
    }
    pq.write_table(pa.table(columns), path)


def write_preprocessed(folder: Path) -> None:
    """The splits and the predictor's settings."""
    for seed, (name, num_rows) in enumerate(SPLITS.items()):
        write_images(folder / f"{name}.parquet", *tiny_images(num_rows, seed=seed))
    pq.write_table(pq.read_table(folder / "train.parquet").slice(0, 0), folder / "unlabelled.parquet")
    write_json(new(folder / "predictor") / "predictor.json", SETTINGS)


def gan_recipe() -> dict[str, Any]:
    """A recipe for them that passes its gates in seconds."""
    recipe = copy.deepcopy(tiny_recipe())
    recipe["service"]["canary"] |= {"min_agreement": None}  # images have no labels to compare
    recipe["validate"]["contract"] = {
        "columns": {"values": "array", "label": "string"}, "labels": LABELS, "num_rows": {"min": 10, "max": None},
        "values": {"length": 64, "min": 0.0, "max": 255.0}, "max_null_share": 0.0, "max_duplicate_share": 0.5,
        "max_conflict_share": 0.5, "min_class_share": 0.1,
    }  # fmt: skip
    recipe |= {"task": "image_generation", "family": "gan", "objective": "adversarial"}
    recipe["preprocess"] = {
        "shape": list(SHAPE), "offset": 127.5, "scale": 127.5, "conflicts": "remove",
        "split": {"validation": 0.2, "test": 0.2, "seed": 0, "group": None},
    }  # fmt: skip
    recipe["pretrain"] = {
        "mode": "train", "source": None, "seed": 0, "epochs": 60, "steps_per_epoch": None, "batch_size": 40,
        "precision": "fp32", "optimizer": ADAM, "schedule": {"name": "constant", "warmup_share": 0.0}, "clip": None,
        "early_stopping": None,
        "model": {
            "latent_size": 8, "generator_sizes": [32, 64], "discriminator_sizes": [64, 32],
            "batch_norm": True, "dropout": 0.1,
        },
        "objective": {
            "label_smoothing": 0.1, "discriminator": ADAM, "max_shift": 0, "averaging": 0.9,
        },
    }  # fmt: skip
    recipe["finetune"] = {"mode": "none"}
    recipe["evaluate"] = {
        "num_samples": 400, "seed": 0, "classifier_epochs": 8,
        "gate": {
            "max_frechet_ratio": 0.5, "max_class_share": 0.6, "min_diversity": 0.3, "min_classifier_accuracy": 0.9,
        },
    }  # fmt: skip
    recipe["compress"] |= {
        "candidates": [{"method": "int8"}, {"method": "fp32"}],
        "gate": {"max_drop": 1.0, "min_speedup": 0.01, "max_size_ratio": 10.0},
    }
    recipe["package"] |= {"num_golden": 12, "max_difference": 1.0}
    recipe["package"]["serving"] = {
        "max_samples": 32, "max_requests": 64, "max_read_ms": 5000,
        "max_latency_ms": 1000,
    }  # fmt: skip
    return recipe


def make_generating(root: Path) -> Path:
    """Write params.yaml and the artifacts of a recipe `tiny` before pretrain. Gives `root`."""
    write_params(root, {"tiny": gan_recipe()})
    artifacts = root / "artifacts" / "tiny"
    write_json(new(artifacts / "ingest") / "card.json", {"licence": "CC0", "num_rows": 380})
    write_json(new(artifacts / "validate") / "verdict.json", {"passed": True})
    write_preprocessed(new(artifacts / "preprocess"))
    for folder in artifacts.iterdir():
        finish(folder, {})
    shutil.copy(ROOT / "dvc.yaml", root)
    YAML().dump({"schema": "2.0", "stages": {f"{stage}@tiny": {} for stage in stages()}}, root / "dvc.lock")
    return root


def copy_of(root: Path, folder: Path) -> Path:
    """A copy of a project that a test may change."""
    return Path(shutil.copytree(root, folder))
