"""What makes a folder a bundle that the registry takes, for tests that need no model that answers."""

import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any

from components.plumbing.artifacts import write_json
from components.recipes import stages
from serving.tasks import endpoint_of
from tests.projects import ROOT

REQUESTS: dict[str, Any] = {
    "text_classification": {"texts": ["a text"]},
    "array_classification": {"arrays": [[0.0]]},
    "text_generation": {"prompt": "a text"},
    "image_generation": {"seed": 0, "count": 1},
}


def complete(folder: Path, *, task: str = "text_classification") -> dict[str, Any]:
    """Add what describes and asks the model, and gives its figures, which are part of the manifest."""
    kept: Any = endpoint_of(task).Limits
    limits = {limit.name: 1 if limit.name == "threads" else 8 for limit in fields(kept)}
    write_json(folder / "service.json", {"name": "tiny", "task": task, "limits": limits})
    write_json(folder / "golden.json", [{"route": "/", "request": REQUESTS[task], "answer": None}])
    (folder / "serving").mkdir()
    (folder / "serving/__init__.py").write_text("")
    if not (folder / "card.md").is_file():
        (folder / "card.md").write_text("# tiny\n")
    return {"metrics": {"evaluate": {"accuracy": 0.9}}}


def project_of(folder: Path, recipe: str) -> Path:
    """A folder with what DVC says of a recipe, none of whose outputs it knows."""
    shutil.copy(ROOT / "dvc.yaml", folder)
    write_json(folder / "dvc.lock", {"stages": {f"{stage}@{recipe}": {"outs": []} for stage in stages()}})
    return folder
