"""The answer to whether each stage of a recipe would run, and the file, parameter or upstream output that makes it."""

from collections.abc import Callable, Mapping
from contextlib import chdir
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components.plumbing.lock_file import locked_stages
from components.plumbing.locks import hold
from components.recipes import PARAMS, load_recipe, load_yaml
from components.tracking.headline import flatten
from flows.pipeline.changes import are_gone, changes_of, is_in_run_cache
from flows.pipeline.graph import Stage, open_repo, read_graph

SHOWN = 80


@dataclass(frozen=True)
class Reason:
    """Whether a stage would run, and why."""

    stage: str
    would_run: bool
    would_restore: bool = False
    """Whether its outputs would come from DVC's cache: they are gone, or it ran before with what it has now."""
    causes: list[str] = field(default_factory=list)


def explain(root: Path, recipe: str) -> list[Reason]:
    """Return one reason for each stage, in the order in which they run; BusyError where the recipe is being run."""
    load_recipe(root, recipe)
    # DVC gives paths as they are seen from the working folder.
    with chdir(root), hold(root, recipe, doing=f"modelyard why {recipe}", wait=False):
        stages = read_graph(open_repo(root), recipe)
        return reasons_of(root, stages, changes_of(root, stages), lambda address: is_in_run_cache(root, address))


def reasons_of(
    root: Path, stages: list[Stage], changes: Mapping[str, list[Any]], is_known: Callable[[str], bool]
) -> list[Reason]:
    """Return one reason for each stage, by what DVC finds changed; `is_known` says of a stage's address whether DVC's
    run cache has what it makes of what it would read now."""
    locked = locked_stages(root)
    reasons: list[Reason] = []
    restored: dict[str, str] = {}
    moving: dict[str, str] = {}
    """By the name of each stage whose outputs may differ from now: what would become of it, in words."""
    for stage in stages:
        entry = locked.get(stage.address, {})
        left = once_restored(changes.get(stage.address, []), entry, restored) if entry else []
        if are_gone(left) and not moving.keys() & set(stage.upstream):
            restored |= digests(entry, "outs")
            cause = "its outputs are gone, and DVC's cache has them"
            reasons.append(Reason(stage.name, would_run=False, would_restore=True, causes=[cause]))
            continue
        causes = [cause for change in left for cause in causes_of(change, root, entry)]
        upstream = [
            f"{name} {moving[name]}, and may change what this reads" for name in stage.upstream if name in moving
        ]
        causes += upstream
        if not entry:
            causes.insert(0, "it never ran here (dvc.lock has no entry)")
        is_restored = bool(causes) and not upstream and is_known(stage.address)
        if is_restored:
            causes.append("DVC's cache has what it made of these before")
        if causes:
            moving[stage.name] = "would come from DVC's cache" if is_restored else "would run"
        would_run = bool(causes) and not is_restored
        reasons.append(Reason(stage.name, would_run=would_run, would_restore=is_restored, causes=causes))
    return reasons


def once_restored(changes: list[Any], entry: dict[str, Any], restored: Mapping[str, str]) -> list[Any]:
    """Return the changes of a stage that stay once the outputs that it reads are back from the cache; `restored` has
    the digests of these by path."""
    reads = digests(entry, "deps")
    left: list[Any] = []
    for change in changes:
        deps = change.get("changed deps") if isinstance(change, dict) else None
        if deps is None:
            left.append(change)
        elif still := {path: s for path, s in deps.items() if not is_back(tidy(path), reads, restored)}:
            left.append({"changed deps": still})
    return left


def is_back(path: str, reads: Mapping[str, str], restored: Mapping[str, str]) -> bool:
    """Return whether a path that a stage reads is as it read it once the outputs are restored; a file in a restored
    folder is, since whatever else reads the folder would have changed as well."""
    if path in restored:
        return restored[path] == reads.get(path)
    return any(path.startswith(f"{folder}/") for folder in restored)


def digests(entry: dict[str, Any], kind: str) -> dict[str, str]:
    """Return the digests of what a stage read ("deps") or wrote ("outs") by path, as dvc.lock has them."""
    return {tidy(one["path"]): one["md5"] for one in entry.get(kind, [])}


def tidy(path: str) -> str:
    """Return a path without the slash that may end a folder's."""
    return path.rstrip("/")


def causes_of(change: Any, root: Path, entry: dict[str, Any]) -> list[str]:
    """Return DVC's account of one kind of change, in words."""
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
    """Return a line for each value of a section of params.yaml that differs from dvc.lock's, with both values."""
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
    """Return a value for a message, cut to SHOWN characters."""
    if key not in values:
        return "(not there)"
    text = repr(values[key])
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"
