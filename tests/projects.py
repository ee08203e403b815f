"""A project in a folder of its own, with a recipe that runs all eight stages in under a minute."""

import copy
import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from components.recipes import load_yaml
from tests.tiny import make_tiny_encoder, tiny_rows

ROOT = Path(__file__).parent.parent
CODE = ["components", "flows", "serving", "dvc.yaml", "pyproject.toml", ".dvcignore", ".gitignore"]


def make_project(folder: Path, *, num_rows: int = 400) -> Path:
    """Copy the code, and add git, DVC, rows, an encoder and the recipe `tiny`. Gives `folder`."""
    folder.mkdir(parents=True)
    for name in CODE:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder / name)
    rows = tiny_rows(num_rows)
    write_rows(folder / "data" / "rows.csv", rows)
    make_tiny_encoder(folder / "encoder", [text for text, _ in rows])
    write_params(folder, {"tiny": tiny_recipe()})
    for command in (["git", "init", "-q", "."], ["dvc", "init", "-q"], ["git", "add", "-A"], git_commit("start")):
        run(command, folder)
    return folder


def git_commit(message: str) -> list[str]:
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    return ["git", *identity, "commit", "-qm", message]


def write_rows(path: Path, rows: list[tuple[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows(rows)


def tiny_recipe() -> dict[str, Any]:
    """The project's first recipe, made small."""
    recipe: dict[str, Any] = copy.deepcopy(load_yaml(ROOT / "params.yaml")["recipes"]["movie_sentiment"])
    recipe["ingest"] |= {
        "source": {"kind": "file", "path": "data/rows.csv"},
        "format": {"type": "csv", "delimiter": ",", "quote": '"', "header": True, "encoding": "utf-8"},
        "query": "SELECT text, label FROM source",
        "feedback": None,
        "watch": "data/rows.csv",
    }
    recipe["validate"]["contract"] |= {"num_rows": {"min": 10, "max": 10000}}
    recipe["preprocess"]["split"] |= {"validation": 0.2, "test": 0.2}
    recipe["preprocess"] |= {"tokenizer": {"kind": "file", "path": "encoder"}, "max_unknown_share": 0.05}
    recipe["pretrain"] |= {"source": {"kind": "file", "path": "encoder"}}
    recipe["finetune"] |= {"epochs": 6, "batch_size": 16, "precision": "fp32", "way": {"name": "full", "freeze": []}}
    recipe["finetune"]["optimizer"] |= {"learning_rate": 3.0e-3}
    recipe["finetune"]["early_stopping"] |= {"patience": 6}
    recipe["evaluate"]["gate"] |= {"min": 0.8, "min_gain": -0.5}
    for name in ("behaviour", "explain", "find_slices"):
        del recipe["evaluate"][name]
    recipe["compress"]["gate"] = {"max_drop": 0.2, "min_speedup": 0.01, "max_size_ratio": 10.0}
    recipe["compress"]["num_latency_rows"] = 20
    recipe["package"] |= {"num_golden": 20, "ready_timeout_s": 60}
    recipe["promotion"] |= {"max_drop": 0.2, "indifference": 0.2, "slices": None}
    recipe["promotion"]["latency"] = {"max_ratio": 20.0, "num_rows": 20}
    recipe["monitoring"]["schedule"] = recipe["schedule"] = None  # nothing starts by the clock
    return recipe


def write_params(folder: Path, recipes: dict[str, Any]) -> None:
    YAML().dump({"recipes": recipes}, folder / "params.yaml")


def edit(folder: Path, path: str, value: object) -> None:
    """Change one value of params.yaml, by its dotted path below `recipes`."""
    yaml = YAML()
    params = yaml.load(folder / "params.yaml")
    node = params["recipes"]
    *parents, last = path.split(".")
    for key in parents:
        node = node[int(key) if key.isdigit() else key]
    node[last] = value
    yaml.dump(params, folder / "params.yaml")


def environment(**extra: str) -> dict[str, str]:
    """What a user's shell has after activating the environment, without stores of the user's own; Python keeps its
    bytecode beside the code, as it does where nobody tells it not to."""
    others = ("MLFLOW_", "PREFECT_", "BENTOML_", "MODELYARD_", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    return kept | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"} | extra


def run(command: list[str], folder: Path, *, check: bool = True, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a user would; where it must not fail, its output is in the error."""
    done = subprocess.run(
        command, cwd=folder, env=environment(**extra), capture_output=True, text=True, check=False, timeout=600
    )
    if check and done.returncode:
        raise AssertionError(f"{' '.join(command)} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done
