"""Small bundles of real models, registered as the versions of a recipe `tiny`."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from components.plumbing.artifacts import read_json
from components.tracking.registry import Registry
from components.tracking.stage_run import stage_run
from components.tracking.store import open_registry
from tests.tiny_bundles import finish_bundle

SPLIT = {"validation": 0.2, "test": 0.2, "seed": 0, "group": None}


def make_bundle(root: Path, folder: Path, change: Callable[[Path], None] = lambda _: None) -> Path:
    """A bundle of the project's compressed model, changed as told, with what the gate reads of its model.json."""
    shutil.copytree(root / "artifacts/tiny/compress/model", folder)
    change(folder)
    test = root / "artifacts/tiny/preprocess/test.parquet"
    outs = {test.relative_to(root).as_posix(): hashlib.md5(test.read_bytes(), usedforsecurity=False).hexdigest()}
    task = read_json(folder / "predictor.json")["task"]
    return finish_bundle(folder, task=task, made_from={"preprocess": {"params": {"split": SPLIT}, "outs": outs}})


def register(root: Path, bundle: Path) -> int:
    """Make a bundle a version, as package does; gives its number."""
    weights = bundle.parent / f"{bundle.name}.weights"
    weights.mkdir(exist_ok=True)
    (weights / "model.safetensors").write_text(bundle.name)
    # a registry keeps the folder's name, which is the same for all
    kept = bundle.parent / f"{bundle.name}.registered" / "bundle"
    shutil.copytree(bundle, kept)
    with stage_run(root, "tiny", "package") as run:
        registered = run.register_model(kept, weights=weights)
    return int(registered["version"])


def note(text: str) -> Callable[[Path], None]:
    """Another model, whose answers are the same."""

    def change(folder: Path) -> None:
        (folder / "note.txt").write_text(text)

    return change


def spoil(folder: Path) -> None:
    """Weights that know nothing and are sure of it: each matrix backwards, each scale four times as large."""
    for path in folder.glob("*.onnx"):
        graph: Any = onnx.load(path)
        for weight in graph.graph.initializer:
            values = numpy_helper.to_array(weight)
            if values.ndim == 2:
                values = values[::-1, ::-1].copy()
            if values.dtype == np.float32:
                values = np.clip(values, -1e6, 1e6) * np.float32(4)
            weight.CopyFrom(numpy_helper.from_array(np.asarray(values), weight.name))
        onnx.save(graph, path)


def registry(root: Path) -> Registry:
    return open_registry(root, "tiny")
