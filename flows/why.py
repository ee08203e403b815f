"""For each stage of a recipe, whether it would run, and the file, parameter or upstream output that makes it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from components.recipes import PARAMS, load_recipe, load_yaml
from components.tracking import flatten
from flows.graph import open_repo, read_graph

SHOWN = 80


@dataclass(frozen=True)
class Reason:
    """Whether a stage would run, and why."""

    stage: str
    would_run: bool
    causes: list[str] = field(default_factory=list)


def explain(root: Path, recipe: str) -> list[Reason]:
    """One reason a stage, in the order in which they run."""
    load_recipe(root, recipe)
    repo = open_repo(root)
    lock = root / "dvc.lock"
    locked: dict[str, Any] = YAML(typ="safe").load(lock).get("stages", {}) if lock.is_file() else {}
    reasons: list[Reason] = []
    for stage in read_graph(repo, recipe):
        entry = locked.get(stage.address)
        changes = repo.status(stage.address).get(stage.address, []) if entry else []
        causes = [cause for change in changes for cause in causes_of(change, root, entry or {})]
        running = {reason.stage for reason in reasons if reason.would_run}
        causes += [
            f"{upstream} would run, and may change what this reads"
            for upstream in stage.upstream
            if upstream in running
        ]
        if not entry:
            causes.insert(0, "it never ran here (dvc.lock has no entry)")
        reasons.append(Reason(stage.name, would_run=bool(causes), causes=causes))
    return reasons


def causes_of(change: Any, root: Path, entry: dict[str, Any]) -> list[str]:
    """DVC's account of one kind of change, in words."""
    if not isinstance(change, dict):
        return [str(change)]
    causes: list[str] = []
    for path, state in change.get("changed deps", {}).items():
        if path == PARAMS:
            causes += [line for section in state for line in params_changes(section, root, entry)]
        else:
            causes.append(f"{path} is {state}")
    causes += [f"its output {path} is {state}" for path, state in change.get("changed outs", {}).items()]
    return causes


def params_changes(section: str, root: Path, entry: dict[str, Any]) -> list[str]:
    """Each value of a section of params.yaml that is not the one that dvc.lock has, before and after."""
    now: Any = load_yaml(root / PARAMS)
    for key in section.split("."):
        now = now[key]
    before = flatten(entry.get("params", {}).get(PARAMS, {}).get(section, {}))
    after = flatten(now)
    keys = [*after, *(key for key in before if key not in after)]
    return [
        f"{section}.{key}: {shown(before, key)} → {shown(after, key)}"
        for key in keys
        if before.get(key, KeyError) != after.get(key, KeyError)
    ]


def shown(values: dict[str, Any], key: str) -> str:
    """A value for a message."""
    if key not in values:
        return "(not there)"
    text = repr(values[key])
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"
