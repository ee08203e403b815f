"""The reading of params.yaml into typed recipes, with every fault of it reported at once."""

import copy
import json
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from components.params import FAMILIES, SECTIONS, Name, Recipe, Section
from components.params.notify import Notify
from components.params.recipe import LABELS, TOP, fault_of_champion
from components.plumbing.errors import ParamsError, did_you_mean, examples
from components.plumbing.yaml_file import read_yaml

PARAMS = "params.yaml"

TAGS = ("kind", "type", "method", "mode", "task", "family", "name")
"""The keys whose value says which of several sections one is."""

NO_NAME = "is no name of a recipe: a name is lower-case letters, digits and underscores, and begins with a letter"

# pydantic's names of the faults that have no value to show
ABSENT = ("missing", "missing_argument", "missing_keyword_only_argument")
UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")


def stages() -> list[str]:
    """Return the names of the stages, which are the sections that a recipe must have."""
    return [field.name for field in fields(Recipe) if field.default is MISSING and field.name not in TOP]


def section_of(recipe: Recipe, stage: str) -> Section:
    """Return a recipe's section for one stage."""
    section: Section = getattr(recipe, stage)
    return section


def load_yaml(path: Path) -> dict[str, Any]:
    """Read params.yaml as plain data; ParamsError where it is missing, is not YAML, or names a recipe as none can be:
    DVC puts the names of all recipes into paths."""
    raw = read_yaml(path)
    if not isinstance(raw, dict) or not isinstance(raw.get("recipes"), dict) or not raw["recipes"]:
        raise ParamsError(f"{path} has no recipes; it needs 'recipes:' with at least one entry")
    for name in raw["recipes"]:
        check_name(name)
    return raw


def check_name(name: object) -> None:
    """Raise ParamsError where something is no name of a recipe."""
    try:
        TypeAdapter[str](Name).validate_python(name)
    except ValidationError as error:
        raise ParamsError(f"{PARAMS}: {examples([name])} {NO_NAME}") from error


def load_recipe(root: Path, name: str) -> Recipe:
    """Read the recipe `name` of `root`/params.yaml, typed. ParamsError lists every fault with its path."""
    raw = load_yaml(root / PARAMS)
    recipes = raw["recipes"]
    if raw.get("notify") is not None:
        load_notify(root)
    if name not in recipes:
        known = ", ".join(map(str, recipes))
        raise ParamsError(f"no recipe '{name}' in {PARAMS}{did_you_mean(name, map(str, recipes))}; it has: {known}")
    return parse_recipe(name, recipes[name])


def load_notify(root: Path, name: str | None = None) -> Notify:
    """Read who is told of what happens to a recipe: its own targets, or else the project's (always these, without a
    name). ParamsError lists every fault with its path."""
    raw = load_yaml(root / PARAMS)
    given, where = raw.get("notify"), "notify"
    of_recipe = raw["recipes"].get(name) if name is not None else None
    if isinstance(of_recipe, dict) and of_recipe.get("notify") is not None:
        given, where = of_recipe["notify"], f"recipes.{name}.notify"
    try:
        return TypeAdapter[Notify](Notify).validate_json(json.dumps(given or {}, default=str))
    except ValidationError as error:
        faults = [fault_line(where, given, fault) for fault in error.errors(include_url=False)]
    raise ParamsError(f"{PARAMS} has faults:\n" + "\n".join(f"  {fault}" for fault in faults))


def parse_recipe(name: str, raw: object) -> Recipe:
    """Make a recipe from plain data, as YAML or JSON gives it. ParamsError lists every fault with its path."""
    where = f"recipes.{name}"
    faults: list[str] = []
    try:
        TypeAdapter[str](Name).validate_python(name)
    except ValidationError:
        faults.append(f"{where}: the name {NO_NAME}")
    at_top = faults_of_top(where, raw)
    faults += at_top
    whole = spread(raw)
    # JSON mode: strict about types, while a list may stand for a tuple and 1 for 1.0.
    try:
        recipe = TypeAdapter(Recipe).validate_json(json.dumps(whole, default=str))
    except ValidationError as error:
        told = error.errors(include_url=False)
        faults += [fault_line(where, whole, fault) for fault in told if not is_of_top(fault, is_told=bool(at_top))]
    else:
        if fault := fault_of_champion(name, recipe):
            faults.append(f"{where}.{fault}")
        if not faults:
            return recipe
    count = "one fault" if len(faults) == 1 else f"{len(faults)} faults"
    raise ParamsError(f"{PARAMS} has {count}:\n" + "\n".join(f"  {fault}" for fault in faults))


def faults_of_top(where: str, raw: object) -> list[str]:
    """Return the faults of what a recipe says once, at its top."""
    if not isinstance(raw, dict):
        return []
    faults: list[str] = []
    for key, known in {"task": [*SECTIONS], "family": [*FAMILIES], "objective": objectives()}.items():
        given = raw.get(key)
        if key not in raw:
            faults.append(f"{where}.{key}: missing; it is one of {', '.join(known)}")
        elif given not in known:
            hint = did_you_mean(str(given), known)
            faults.append(
                f"{where}.{key}: there is no {key} {json.dumps(given)[:80]}{hint}; it is one of {', '.join(known)}"
            )
    objective, pretrain = raw.get("objective"), raw.get("pretrain")
    if objective == LABELS and isinstance(pretrain, dict) and pretrain.get("mode") == "train":
        others = ", ".join(name for name in objectives() if name != LABELS)
        faults.append(
            f"{where}.objective: pretrain.mode is 'train', which learns from rows without their labels, but objective "
            f"is '{LABELS}'; it is one of {others}"
        )
    for key, places in TOP.items():
        for place in places:
            *sections, last = place
            node: Any = raw
            for section in sections:
                node = part_of(node, section)
            if isinstance(node, dict) and last in node:
                faults.append(
                    f"{where}.{'.'.join(place)}: {key} stands once, at the top of the recipe; take it out here"
                )
    return faults


def objectives() -> list[str]:
    """Return every objective that some task's model may first learn."""
    return sorted({objective for sections in SECTIONS.values() for objective in sections.objectives})


def spread(raw: object) -> object:
    """Return a recipe as it is typed: what stands once at its top is put into the sections that have it."""
    if not isinstance(raw, dict):
        return raw
    whole: dict[str, Any] = copy.deepcopy(raw)
    pretrain = whole.get("pretrain")
    if isinstance(pretrain, dict) and pretrain.get("mode") == "train" and whole.get("objective") != LABELS:
        pretrain.setdefault("objective", {})  # of one that has no settings
    for key, places in TOP.items():
        for *sections, last in places:
            node: Any = whole
            for section in sections:
                node = part_of(node, section)
            if isinstance(node, dict) and key in whole:
                node[last] = whole[key]
    return whole


def is_of_top(fault: Any, *, is_told: bool) -> bool:
    """Return whether a fault of pydantic's comes from what stands at the top, and is told already: there, or where the
    typed sections have it (whose paths also hold the names of the kinds that they are)."""
    place = tuple(str(part) for part in fault["loc"])
    if not place:
        return False  # of the recipe as a whole
    if any((place[0], place[-1]) == (sections[0], sections[-1]) for places in TOP.values() for sections in places):
        return True
    of_union = fault["type"] in ("union_tag_invalid", "union_tag_not_found")
    is_key = len(place) == 1 and place[0] in TOP and place[0] != "threads"
    return is_told and (of_union or is_key or place == ("pretrain", "objective"))


def fault_line(where: str, raw: object, fault: Any) -> str:
    """Return one fault of pydantic's, as `path: what is wrong; the value seen`."""
    path, node, tagged = [where], raw, None
    for part in fault["loc"]:
        if isinstance(node, dict) and node is not tagged and part in [node.get(key) for key in TAGS]:
            tagged = node  # `pypi` or `csv` stands in pydantic's path, but not in the file
            continue
        path.append(str(part))
        node = part_of(node, part)
    dotted = ".".join(path)
    if fault["type"] in ABSENT:
        return f"{dotted}: missing"
    if fault["type"] in UNKNOWN:
        known = known_keys()
        elsewhere = path[-1] in known
        return f"{dotted}: unknown key{' here' if elsewhere else did_you_mean(path[-1], known)}"
    message = fault["msg"].removeprefix("Value error, ")
    # An address may hold a password, and who gives the secret itself in place of a variable's name gives it here.
    may_be_secret = path[-1] == "url" or path[-1].endswith("_variable")
    is_shown = not isinstance(fault["input"], dict | list) and not may_be_secret
    seen = f"; the value is {json.dumps(fault['input'])[:80]}" if is_shown else ""
    return f"{dotted}: {message[0].lower()}{message[1:]}{seen}"


def part_of(node: Any, part: str | int) -> Any:
    """Return what lies below a key of a mapping or at a place of a list; None where there is nothing."""
    if isinstance(node, dict):
        return node.get(part)
    return node[part] if isinstance(node, list) and isinstance(part, int) and part < len(node) else None


def known_keys() -> set[str]:
    """Return every key that some section has."""
    found, todo = {field.name for field in fields(Recipe)}, [Section]
    while todo:
        kind = todo.pop()
        todo += kind.__subclasses__()
        found |= kind.model_fields.keys()
    return found
