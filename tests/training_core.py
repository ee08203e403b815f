"""An environment with what the training core needs and nothing else, made of links to what is installed here."""

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.patience import PATIENCE_S
from tests.projects import ROOT

NEEDED = ("torch", "transformers", "accelerate", "safetensors", "numpy", "pydantic")
ONLY_OF_A_COMMAND_LINE = {"rich", "typer"}
"""What they bring for their commands alone, and may not bring in another version."""


def distributions() -> set[str]:
    """The names of the needed distributions and of those that they need in turn."""
    found: set[str] = set()
    todo = [*NEEDED]
    while todo:
        name = canonicalize_name(todo.pop())
        if name in found | ONLY_OF_A_COMMAND_LINE:
            continue
        found.add(name)
        for requirement in map(Requirement, importlib.metadata.requires(name) or []):
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                todo.append(requirement.name)
    return found


def link_packages(folder: Path) -> Path:
    """Fill `folder` with links to the files of those distributions; return it."""
    folder.mkdir()
    for name in distributions():
        for file in importlib.metadata.files(name) or []:
            top = file.parts[0]
            place = Path(str(file.locate())).parents[len(file.parts) - 2] if len(file.parts) > 1 else file.locate()
            if top not in ("..", "__pycache__") and not (folder / top).exists():
                (folder / top).symlink_to(str(place))
    return folder


def run_alone(packages: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run this interpreter with those packages and the project's code alone."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment |= {"PYTHONPATH": os.pathsep.join([str(packages), str(ROOT)]), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys._base_executable, "-S", *arguments],  # pyright: ignore[reportAttributeAccessIssue]
        cwd=cwd, env=environment, capture_output=True, text=True, timeout=5 * PATIENCE_S, check=False,
    )  # fmt: skip
