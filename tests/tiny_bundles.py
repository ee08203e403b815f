"""What makes a folder a bundle that the registry takes, for tests that need no model that answers."""

import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any

from components.plumbing.artifacts import files_of, read_json, sha256_of, write_json
from components.recipes import stages
from serving.bundle import MANIFEST, MODEL
from serving.tasks import endpoint_of
from tests.projects import ROOT

REQUESTS: dict[str, Any] = {
    "text_classification": {"texts": ["a text"]},
    "array_classification": {"arrays": [[0.0]]},
    "text_generation": {"prompt": "a text"},
    "image_generation": {"seed": 0, "count": 1},
}


def finish_bundle(folder: Path, *, task: str = "text_classification", **known: Any) -> Path:
    """Make a folder with a model's files a bundle, of a service that answers nothing; `known` goes into model.json."""
    kept: Any = endpoint_of(task).Limits
    limits = {limit.name: 1 if limit.name == "threads" else 8 for limit in fields(kept)}
    write_json(folder / "golden.json", [{"route": "/", "request": REQUESTS[task], "answer": None}])
    figures = {"evaluate": {"accuracy": 0.9}}
    write_json(folder / MODEL, {"task": task, "metrics": figures, **known, "files": files_of(folder)})
    write_json(folder / "service.json", {"name": "tiny", "task": task, "limits": limits})
    (folder / "serving").mkdir()
    (folder / "serving/__init__.py").write_text("")
    (folder / "card.md").write_text("# tiny\n")
    write_json(folder / MANIFEST, {"files": files_of(folder)})
    return folder


def rebuild(bundle: Path, folder: Path, *, card: str) -> Path:
    """Copy a bundle with another card: the same version in another build."""
    shutil.copytree(bundle, folder)
    (folder / "card.md").write_text(card)
    manifest = read_json(folder / MANIFEST)
    manifest["files"]["card.md"] = sha256_of(folder / "card.md")
    write_json(folder / MANIFEST, manifest)
    return folder


def as_before(bundle: Path) -> Path:
    """Make a bundle one of an earlier release: its manifest says all, and there is no model.json."""
    known = read_json(bundle / MODEL)
    for name in (MODEL, MANIFEST):
        (bundle / name).unlink()
    write_json(bundle / MANIFEST, {**known, "files": files_of(bundle)})
    return bundle


def project_of(folder: Path, recipe: str) -> Path:
    """A folder with what DVC says of a recipe, none of whose outputs it knows."""
    shutil.copy(ROOT / "dvc.yaml", folder)
    write_json(folder / "dvc.lock", {"stages": {f"{stage}@{recipe}": {"outs": []} for stage in stages()}})
    return folder
