"""The settings that a sweep searches: their place in a recipe, the checks before any trial, and what a trial gets."""

import copy
import itertools
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from components.params import Recipe
from components.params.sweep import SIZE, SPEEDUP, Choice, Range, Sweep, Value
from components.plumbing.errors import InputError, ParamsError, did_you_mean
from components.recipes import parse_recipe, stages

if TYPE_CHECKING:
    import optuna

DIGITS = 4
Settings = dict[str, Any]
"""Values by their path below the recipe."""
SEARCHED = stages()[stages().index("preprocess") : stages().index("evaluate")]
"""The sections whose settings may be searched: what they make is judged on the validation split."""
NOT_SEARCHED = {
    "preprocess.split": "it changes the rows that trials are judged on",
    "pretrain.objective": "it is what trials are judged by",
    "finetune.control": "the control is not judged",
    "finetune.mode": "it is another recipe",
    "pretrain.mode": "it is another recipe",
}
"""Settings that a search may not change, and why, by the beginning of their path."""


def value_at(raw: Any, path: str) -> Any:
    """Return the value at a dotted path of a recipe, where a number names an entry of a list; None where there is
    none."""
    for key in path.split("."):
        if isinstance(raw, list):
            raw = raw[int(key)] if key.isdecimal() and int(key) < len(raw) else None
        else:
            raw = raw.get(key) if isinstance(raw, dict) else None
    return raw


def has(raw: Mapping[str, Any], path: str) -> bool:
    """Return whether a recipe has a setting at a dotted path, null included."""
    parent, _, last = path.rpartition(".")
    section = value_at(raw, parent)
    if isinstance(section, list):
        return last.isdecimal() and int(last) < len(section)
    return isinstance(section, dict) and last in section


def brief(path: str) -> str:
    """Return the last key of a path, with that of its list where it is a number."""
    keys = path.split(".")
    return ".".join(keys[-2:] if keys[-1].isdecimal() else keys[-1:])


def with_settings(raw: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a recipe, as params.yaml has it, with other values at some paths."""
    changed: dict[str, Any] = copy.deepcopy(dict(raw))
    for path, value in settings.items():
        *parents, last = path.split(".")
        node: Any = changed
        for key in parents:
            node = node[int(key) if isinstance(node, list) else key]
        node[int(last) if isinstance(node, list) else last] = value
    return changed


def for_a_trial(raw: Mapping[str, Any], settings: Mapping[str, Any], *, precision: str) -> dict[str, Any]:
    """Return the recipe of a trial: on one device, without the control, which is not judged, and in the precision that
    was chosen for the present settings, where the recipe leaves that to a measurement."""
    changed = with_settings(raw, settings)
    changed.pop("devices", None)
    for section in ("pretrain", "finetune"):
        part = changed[section]
        if part.get("control"):
            part["control"] = False
        if part.get("precision") == "auto":
            part["precision"] = precision
    return changed


def check_space(name: str, raw: Mapping[str, Any], sweep: Sweep) -> None:
    """Raise ParamsError where a path names no setting, where the search may not change it, or where the recipe does not
    allow one of its values."""
    where, seen = f"recipes.{name}.sweep.space", list[str]()
    judged = judged_stage(parse_recipe(name, raw))
    for path, one in sweep.space.items():
        section = path.partition(".")[0]
        if section not in SEARCHED or "." not in path:
            raise ParamsError(f"{where}: '{path}' is no setting of {', '.join(SEARCHED)}, which are searched")
        if SEARCHED.index(section) > SEARCHED.index(judged):
            raise ParamsError(f"{where}: '{path}' takes no effect: {judged} is this recipe's last training")
        by_token = [name for name in sweep.figures if name.startswith("validation_") and "per_byte" not in name]
        if section == "preprocess" and judged == "pretrain" and by_token:
            raise ParamsError(
                f"{where}: with other tokens ('{path}') {by_token[0]} is of other things; take an objective by the "
                "byte, such as validation_bits_per_byte, or leave preprocess as it is"
            )
        for start, why in NOT_SEARCHED.items():
            if path == start or path.startswith(f"{start}."):
                raise ParamsError(f"{where}: '{path}' cannot be searched: {why}")
        if not has(raw, path):
            parent = path.rpartition(".")[0]
            siblings = value_at(raw, parent)
            known = [f"{parent}.{key}" for key in siblings] if isinstance(siblings, dict) else paths_of(raw)
            raise ParamsError(
                f"{where}: recipes.{name} has no setting '{path}'{did_you_mean(path, known)}; "
                "write it into the recipe first, with the value that it has now"
            )
        for other in one.when or {}:
            if not has(raw, other):
                raise ParamsError(f"{where}.{path}: 'when' names '{other}', which the recipe does not have")
            if other in sweep.space and other not in seen:
                raise ParamsError(f"{where}.{path}: 'when' names '{other}', which must come before it in the space")
        seen.append(path)
        for value in ends_of(one):
            settings = {other: first_of(wanted) for other, wanted in (one.when or {}).items()} | {path: value}
            try:
                parse_recipe(name, with_settings(raw, settings))
            except ParamsError as error:
                told = str(error).split("\n")[-1].strip()
                raise ParamsError(f"{where}: {path} = {value!r} is not allowed: {told}") from error


def paths_of(raw: Mapping[str, Any]) -> list[str]:
    """Return the paths of all settings of the sections that are searched."""

    def below(node: Any, path: str) -> Iterator[str]:
        for key, value in node.items():
            if isinstance(value, dict):
                yield from below(value, f"{path}.{key}")
            else:
                yield f"{path}.{key}"

    return [path for section in SEARCHED for path in below(raw.get(section) or {}, section)]


def ends_of(one: Choice | Range) -> tuple[Any, ...]:
    return one.choices if isinstance(one, Choice) else one.ends


def first_of(wanted: Value | tuple[Value, ...]) -> Value:
    return wanted[0] if isinstance(wanted, tuple) else wanted


def first_searched(sweep: Sweep) -> str:
    """Return the first stage that a trial may have to run."""
    sections = {path.partition(".")[0] for path in sweep.space}
    return next(section for section in SEARCHED if section in sections)


def judged_stage(recipe: Recipe) -> str:
    """Return the stage whose report holds the objective: the recipe's last training."""
    return "pretrain" if recipe.finetune.mode == "none" else "finetune"


def is_drawn(one: Choice | Range, drawn: Mapping[str, Any], raw: Mapping[str, Any]) -> bool:
    """Return whether the conditions of a setting hold, with what was drawn before it."""
    for path, wanted in (one.when or {}).items():
        value = drawn.get(path, value_at(raw, path))
        if value not in (wanted if isinstance(wanted, tuple) else (wanted,)):
            return False
    return True


def draw(trial: "optuna.Trial", sweep: Sweep, raw: Mapping[str, Any]) -> Settings:
    """Draw a value for each setting of the space whose conditions hold, in the order of the space."""
    drawn: Settings = {}
    for path, one in sweep.space.items():
        if not is_drawn(one, drawn, raw):
            continue
        if isinstance(one, Choice):
            drawn[path] = trial.suggest_categorical(path, list(one.choices))
        elif one.integer is not None:
            drawn[path] = trial.suggest_int(path, *one.integer)
        else:
            drawn[path] = rounded(trial.suggest_float(path, *one.ends, log=one.log is not None), one.ends)
    return drawn


def rounded(value: float, ends: tuple[float, float]) -> float:
    """Return a drawn number with as many digits as a person would write."""
    return min(max(float(f"{value:.{DIGITS}g}"), ends[0]), ends[1])


def grid_of(sweep: Sweep) -> Iterator[Settings]:
    """Yield all combinations of the space, the last setting changing first."""
    values = [
        one.choices if isinstance(one, Choice) else range(int(one.ends[0]), int(one.ends[1]) + 1)
        for one in sweep.space.values()
    ]
    for combination in itertools.product(*values):
        yield dict(zip(sweep.space, combination, strict=True))


def present_of(sweep: Sweep, raw: Mapping[str, Any]) -> Settings:
    """Return the present values of the settings that are searched and whose conditions hold."""
    found: Settings = {}
    for path, one in sweep.space.items():
        if is_drawn(one, found, raw):
            found[path] = value_at(raw, path)
    return found


def is_within(one: Choice | Range, value: Any) -> bool:
    """Return whether a value could be drawn."""
    if isinstance(one, Choice):
        return any(value == choice and type(value) is type(choice) for choice in one.choices)
    kinds = int if one.integer is not None else int | float
    is_number = isinstance(value, kinds) and not isinstance(value, bool)
    return is_number and math.isfinite(value) and one.ends[0] <= value <= one.ends[1]


def check_figures(sweep: Sweep, report: Mapping[str, Any], *, unit: str = "") -> None:
    """Raise InputError where a trial is to be judged by what neither the training measures on the validation split nor
    is measured of what is served; `unit` is what the task's speed counts, where that is known."""
    known = sorted(
        name for name, value in report.items() if name.startswith("validation_") and isinstance(value, int | float)
    )
    known += [SIZE, SPEEDUP, *([f"{unit}_per_s"] if unit else [])]
    for name in sweep.figures:
        if name not in known:
            key = "objective" if name in sweep.objectives else "constraints"
            raise InputError(
                f"sweep.{key} names '{name}'{did_you_mean(name, known)}, which this training does not measure; it "
                f"measures {', '.join(known)}"
            )
