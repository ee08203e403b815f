"""Writes the folder that becomes a Bento: the model, and the service that answers with it.

The same inputs give the same bytes. What the model is stands in model.json, whose sha256 is its version: neither the
service's code nor its limits are part of it, so that a fix of the service leaves the version as it was.
"""

import shutil
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

import serving as served_code
from components.package.card import card_text
from components.package.gates import Drop, gates_passed
from components.package.smoke import Golden
from components.params import Serving
from components.plumbing.artifacts import files_of, read_json, write_json
from components.plumbing.errors import ArtifactError
from components.plumbing.lock_file import locked_stages
from components.recipes import stages
from serving.bundle import ABOUT, CARD, GOLDEN, MANIFEST, MODEL, REPORT
from serving.tasks import endpoint_of

PREDICTOR = "predictor.json"
FOLDER_OF_PAGE = "evaluate/results"
NEEDED = ("bentoml", "httptools", "numpy", "onnxruntime", "uvicorn", "uvloop")
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


def write_bundle(
    folder: Path, *, recipe: str, model: Path, golden: Sequence[Golden], serving: Serving, project: Path,
    reports: Mapping[str, Any], drop: Drop, page: Path | None = None,
) -> None:  # fmt: skip
    """Write everything that is served into `folder`; the manifest last, since it names all other files.

    `page` is the page on how the model was judged. It is of the build and not of the version: its look is no part of
    what the model is.
    """
    shutil.copytree(model, folder, dirs_exist_ok=True)
    write_json(folder / GOLDEN, list(golden))
    origin = made_from(project, recipe)
    write_json(folder / MODEL, model_of(folder, recipe, task=serving.task, reports=reports, origin=origin, drop=drop))
    if page is not None:
        shutil.copyfile(page, folder / REPORT)
    copy_code(folder / "serving", task=serving.task)
    endpoint = endpoint_of(serving.task)
    limits = serving.model_dump(mode="json", exclude={"task"})
    write_json(folder / ABOUT, {"name": recipe, "task": serving.task, "limits": limits})
    packages = "\n".join(f"    - {name}=={version(name)}" for name in sorted({*NEEDED, *endpoint.PACKAGES}))
    (folder / "bentofile.yaml").write_text(BENTOFILE.format(recipe=recipe, packages=packages), encoding="utf-8")
    params = {stage: entry["params"] for stage, entry in origin.items()}
    gates = gates_passed(reports=reports, params=params, num_golden=len(golden), drop=drop)
    card = card_text(
        recipe, folder, endpoint=endpoint, limits=endpoint.Limits(**limits), reports=reports, gates=gates,
        params=params, has_page=page is not None,
    )  # fmt: skip
    (folder / CARD).write_text(card, encoding="utf-8")
    write_json(folder / MANIFEST, {"recipe": recipe, "gates": gates, "files": files_of(folder)})


def model_of(
    folder: Path, recipe: str, *, task: str, reports: Mapping[str, Any], origin: Mapping[str, Any], drop: Drop
) -> dict[str, Any]:
    """Return the content of model.json. `folder` holds the model's files and its golden answers, and nothing else."""
    return {
        "recipe": recipe,
        "task": task,
        "predictor": read_json(folder / PREDICTOR),
        "data": reports["card"],
        "contract": reports["verdict"],
        "metrics": {"evaluate": reports["evaluated"], "compress": reports["compressed"]},
        "is_lower_better": drop(1.0, 2.0) > 0,
        "made_from": {stage: {**one, "params": without_looks(one["params"])} for stage, one in origin.items()},
        "stages": list(origin),
        "files": files_of(folder),
    }


WITHOUT_EFFECT = frozenset(("gate", "behaviour", "explain", "find_slices", "label_errors"))
"""The settings of a stage that change no byte of the model that passes it."""


def without_looks(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stage's parameters without its gate, and without what only looks at the model: what passed is the same
    model, wherever the limits were and whatever was looked at."""
    return {name: value for name, value in params.items() if name not in WITHOUT_EFFECT}


def copy_code(folder: Path, *, task: str) -> None:
    """Copy the package `serving`, as it is imported here, into `folder`, with the one task of the bundle."""
    (source,) = map(Path, served_code.__path__)
    others = {path.name for path in (source / "tasks").iterdir() if path.is_dir()} - {task}

    def left_out(where: str, names: list[str]) -> set[str]:
        bytecode = {name for name in names if name == "__pycache__" or name.endswith(".pyc")}
        return bytecode | others if Path(where) == source / "tasks" else bytecode

    shutil.copytree(source, folder, ignore=left_out)


def made_from(project: Path, recipe: str) -> dict[str, Any]:
    """Return, for each stage before `package`, its parameters and the md5 of each output that a stage of the recipe
    reads. ArtifactError where dvc.lock lacks a stage.

    Reports and plots are left out: one that changes makes no later stage run again, this one neither, and a bundle must
    be the same however often the pipeline ran before. So is the folder in which the page lies: another look of the page
    is no other model, and report.json has the figures. For that, too, dvc.yaml says what is read: dvc.lock knows only
    the stages that ran.
    """
    dvc_lock = project / "dvc.lock"
    try:
        locked = locked_stages(project)
        if not locked:
            raise ValueError("it is not there, or names no stage")
    except (OSError, YAMLError, ValueError) as error:
        raise ArtifactError(
            f"{dvc_lock} cannot be read ({error}); run the pipeline through DVC: 'dvc repro'"
        ) from error
    read = read_by_stages(project / "dvc.yaml", recipe) - {f"artifacts/{recipe}/{FOLDER_OF_PAGE}"}
    entries: dict[str, Any] = {}
    for stage in stages()[: stages().index("package")]:
        name = f"{stage}@{recipe}"
        if name not in locked:
            raise ArtifactError(f"{dvc_lock} has no entry {name}; run the stage through DVC: 'dvc repro {name}'")
        entries[stage] = locked[name]
    return {
        stage: {
            "params": next(iter(entry.get("params", {}).values()), {}).get(f"recipes.{recipe}.{stage}", {}),
            "outs": {out["path"]: out["md5"] for out in entry.get("outs", []) if out["path"].rstrip("/") in read},
        }
        for stage, entry in entries.items()
    }


def read_by_stages(dvc_yaml: Path, recipe: str) -> set[str]:
    """Return the paths that the stages of a recipe read, by dvc.yaml."""
    try:
        written: dict[str, Any] = YAML(typ="safe").load(dvc_yaml.read_text(encoding="utf-8"))["stages"]
    except (OSError, YAMLError, KeyError, TypeError) as error:
        raise ArtifactError(f"{dvc_yaml} cannot be read ({error})") from error
    return {dep.replace("${key}", recipe).rstrip("/") for stage in stages() for dep in written[stage]["do"]["deps"]}
