"""Writes the folder that becomes a Bento. The same inputs give the same bytes."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

import serving
from components.artifacts import files_of, write_json
from components.errors import ArtifactError
from components.package.card import card_text
from components.recipes import stages
from serving.bundle import CARD, LIMITS, MANIFEST
from serving.predictors.text_classification import MODEL, SETTINGS, TOKENIZER, load_settings

GOLDEN = "golden.json"
SERVED = (MODEL, TOKENIZER, SETTINGS)
NEEDED = ("bentoml", "numpy", "onnxruntime", "tokenizers")
BENTOFILE = """\
service: serving.entry:service
name: {recipe}
description: "file: ./card.md"
include: ["*"]
python:
  lock_packages: false
  packages:
{packages}
docker:
  python_version: "3.11"
"""


@dataclass(frozen=True)
class Golden:
    """A text, and what the measured models say of it."""

    row: int
    text: str
    label: str
    scores: list[float]
    """In the order of the labels."""
    float_label: str


def golden_rows(predictions: Path, float_predictions: Path, model: Path, *, limit: int) -> list[Golden]:
    """At most `limit` rows of the test split, spread evenly over it."""
    labels = load_settings(model / SETTINGS).labels
    ours = pq.read_table(predictions, columns=["row", "predicted_id", "scores"])
    theirs = pq.read_table(float_predictions, columns=["row", "text", "predicted_id"])
    if ours["row"] != theirs["row"]:
        raise ArtifactError(f"{predictions} and {float_predictions} are not of the same rows; run 'dvc repro'")
    chosen = np.unique(np.linspace(0, len(ours) - 1, min(limit, len(ours))).round().astype(np.int64))
    return [
        Golden(
            row=one["row"],
            text=other["text"],
            label=labels[one["predicted_id"]],
            scores=one["scores"],
            float_label=labels[other["predicted_id"]],
        )
        for one, other in zip(ours.take(chosen).to_pylist(), theirs.take(chosen).to_pylist(), strict=True)
    ]


def write_bundle(
    folder: Path, *, recipe: str, model: Path, golden: Sequence[Golden], limits: Mapping[str, int], dvc_lock: Path,
    reports: Mapping[str, Any],
) -> None:  # fmt: skip
    """Write everything that is served; the manifest last, since it names all the others."""
    settings = load_settings(model / SETTINGS)
    copy_code(folder / "serving")
    for name in SERVED:
        shutil.copyfile(model / name, folder / name)
    write_json(folder / LIMITS, {"name": recipe, **limits})
    write_json(folder / GOLDEN, [asdict(row) for row in golden])
    packages = "\n".join(f"    - {name}=={version(name)}" for name in NEEDED)
    (folder / "bentofile.yaml").write_text(BENTOFILE.format(recipe=recipe, packages=packages), encoding="utf-8")
    card = card_text(
        recipe, labels=list(settings.labels), data=reports["card"], evaluated=reports["evaluated"],
        compressed=reports["compressed"], limits=limits, max_tokens=settings.max_tokens,
    )  # fmt: skip
    (folder / CARD).write_text(card, encoding="utf-8")
    manifest = {
        "recipe": recipe,
        "labels": list(settings.labels),
        "data": reports["card"],
        "contract": reports["verdict"],
        "metrics": {"evaluate": reports["evaluated"], "compress": reports["compressed"]},
        "made_from": made_from(dvc_lock, recipe),
        "files": files_of(folder),
    }
    write_json(folder / MANIFEST, manifest)


def copy_code(folder: Path) -> None:
    """The package `serving`, as it is imported here."""
    (source,) = serving.__path__
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))


def made_from(dvc_lock: Path, recipe: str) -> dict[str, Any]:
    """For each stage before this one: its parameters, and the digest of every output that another stage reads.

    Reports and plots are left out: one that changes makes no later stage run again, this one neither, and a bundle must
    be the same however often the pipeline ran before.
    """
    locked = locked_stages(dvc_lock)
    entries: dict[str, Any] = {}
    for stage in stages()[: stages().index("package")]:
        name = f"{stage}@{recipe}"
        if name not in locked:
            raise ArtifactError(f"{dvc_lock} has no entry {name}; run the stage through DVC: 'dvc repro {name}'")
        entries[stage] = locked[name]
    read = {dep["path"].rstrip("/") for entry in locked.values() for dep in entry.get("deps", [])}
    return {
        stage: {
            "params": next(iter(next(iter(entry.get("params", {}).values()), {}).values()), {}),
            "outs": {out["path"]: out["md5"] for out in entry.get("outs", []) if out["path"].rstrip("/") in read},
        }
        for stage, entry in entries.items()
    }


def locked_stages(dvc_lock: Path) -> dict[str, Any]:
    """The stages of dvc.lock, by their names."""
    try:
        return YAML(typ="safe").load(dvc_lock.read_text(encoding="utf-8"))["stages"]
    except (OSError, YAMLError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"{dvc_lock} cannot be read ({error}); run the pipeline through DVC: 'dvc repro'"
        ) from error
