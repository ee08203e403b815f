"""The plan of a sweep: read from params.yaml, checked before any work, and named."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from components.params import Recipe
from components.params.recipe import NO_CHAMPION
from components.params.sweep import Sweep
from components.plumbing.artifacts import Layout, digest_of, fingerprint_of, sha256_of
from components.plumbing.errors import InputError
from components.plumbing.lock_file import locked_stages
from components.recipes import PARAMS, load_recipe, load_yaml, section_of, stages
from flows.sweep.settings.space import check_space, first_searched, judged_stage

VERSION = 2
"""To be raised with each change that makes other trials of the same section."""


@dataclass(frozen=True)
class Plan:
    """A sweep, and all that its trials have in common."""

    root: Path
    name: str
    raw: Mapping[str, Any]
    """The recipe as params.yaml has it."""
    recipe: Recipe
    sweep: Sweep
    judged: str
    """The stage whose report holds the objective."""


def plan_of(root: Path, name: str) -> Plan:
    """Read what a recipe's sweep is to do; ParamsError or InputError where it cannot be done."""
    recipe = load_recipe(root, name)
    raw: dict[str, Any] = load_yaml(root / PARAMS)["recipes"][name]
    if recipe.sweep is None:
        raise InputError(
            f"recipes.{name} has no section 'sweep'; add one, for example: "
            "sweep: {space: {finetune.optimizer.learning_rate: {log: [1.0e-5, 1.0e-3]}}, trials: 20}"
        )
    check_space(name, raw, recipe.sweep)
    if recipe.champion not in (None, NO_CHAMPION):
        raise InputError(
            f"recipes.{name} starts from its champion, which may change while a sweep runs; sweep a copy of the recipe "
            "with another source and tokenizer"
        )
    return Plan(root, name, raw, recipe, recipe.sweep, judged_stage(recipe))


def study_of(plan: Plan) -> str:
    """Return the name of a study: another one where its trials would be other work, the same with another budget."""
    order = stages()
    first, last = order.index(first_searched(plan.sweep)), order.index(plan.judged)
    locked = locked_stages(plan.root)
    settings = {stage: section_of(plan.recipe, stage).model_dump(mode="json") for stage in order[: last + 1]}
    settings["drawn by"] = {"version": VERSION, "optuna": version("optuna")}
    settings["sweep"] = section_in(plan.sweep)
    if plan.sweep.is_exported:
        settings["served by"] = {name: version(name) for name in ("torch", "onnx", "onnxruntime")} | served_by(plan)
    inputs = {stage: digest_of(Layout(plan.root, plan.name, stage).artifact) or "" for stage in order[:first]}
    for stage in order[first : last + 1]:
        for dep in locked.get(f"{stage}@{plan.name}", {}).get("deps", []):
            inputs[f"{stage} {dep['path']}"] = str(dep.get("md5"))
    return fingerprint_of(settings, inputs)


def served_by(plan: Plan) -> dict[str, str]:
    """Return the sha256 of each file of the code that exports what would be served, and that answers with it."""
    task = plan.recipe.task
    rooms = [
        "components/compress", "components/export", f"components/tasks/{task}",
        "serving/predictors", f"serving/tasks/{task}",
    ]  # fmt: skip
    files = [file for room in rooms for file in (plan.root / room).rglob("*.py")]
    return {file.relative_to(plan.root).as_posix(): sha256_of(file) for file in sorted(files) if file.is_file()}


def section_in(sweep: Sweep) -> dict[str, Any]:
    """Return what makes a study of the section `sweep`; what is not said stands there as before it could be."""
    section = sweep.model_dump(mode="json", exclude={"trials", "limit_s", "workers", "schedule"})
    if not sweep.constraints:
        del section["constraints"]
    if sweep.direction is None and len(sweep.objectives) == 1 and sweep.minimizes and "loss" not in sweep.objectives[0]:
        section["direction"] = "minimize"  # it was maximized once
    return section
