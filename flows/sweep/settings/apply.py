"""The writing of values into params.yaml that leaves every other byte of it as it is.

A YAML library that reads and writes the file would wrap and indent it anew, so the place of each value is found by the
library, and its text alone is replaced.
"""

import difflib
import io
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from components.plumbing.artifacts import write_bytes
from components.plumbing.errors import InputError, ParamsError
from components.plumbing.yaml_file import read_yaml
from components.recipes import PARAMS, parse_recipe
from flows.sweep.settings.space import with_settings

PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
"""What may stand without quotes."""
WORDS = ("y", "n", "yes", "no", "on", "off", "true", "false", "null")
"""What YAML 1.1 or 1.2 takes for something else than a string."""


def apply(root: Path, recipe: str, settings: Mapping[str, Any]) -> str:
    """Put values into a recipe of params.yaml, by their path below the recipe; return the change as a unified diff.

    Raise InputError where a value lies in what another part of the file shares (an anchor), and ParamsError where the
    recipe does not allow the values. Nothing is written then.
    """
    path = root / PARAMS
    before: dict[str, Any] = read_yaml(path)
    held = path.read_bytes()
    text = held.decode()
    document = YAML(typ="rt").compose(io.StringIO(text, newline=""))
    places = sorted(
        (place_of(document, ("recipes", recipe, *key.split(".")), where=f"recipes.{recipe}.{key}"), value)
        for key, value in settings.items()
    )
    changed = text
    for (start, end), value in reversed(places):
        changed = changed[:start] + scalar(value) + changed[end:]
    if changed == text:
        return ""
    wanted = {**before, "recipes": {**before["recipes"], recipe: with_settings(before["recipes"][recipe], settings)}}
    if YAML(typ="safe").load(changed) != wanted:
        raise InputError(
            f"{path}: {', '.join(settings)} cannot be changed alone; write the values by hand: "
            + ", ".join(f"{key}: {scalar(value)}" for key, value in settings.items())
        )
    parse_recipe(recipe, wanted["recipes"][recipe])
    if path.read_bytes() != held:
        raise InputError(f"{path} was changed meanwhile; run the same command again")
    write_bytes(path, changed.encode())
    names = (f"{PARAMS} (before)", PARAMS)
    return "".join(difflib.unified_diff(text.splitlines(True), changed.splitlines(True), *names, n=1)).rstrip("\n")


def check_places(root: Path, recipe: str, paths: Iterable[str]) -> None:
    """Raise InputError where a value at one of these paths of a recipe cannot be replaced."""
    document = YAML(typ="rt").compose(io.StringIO((root / PARAMS).read_bytes().decode(), newline=""))
    for path in paths:
        place_of(document, ("recipes", recipe, *path.split(".")), where=f"recipes.{recipe}.{path}")


def place_of(document: Node, path: tuple[str, ...], *, where: str) -> tuple[int, int]:
    """Return where a value's text begins and ends, in characters of the file."""
    node, seen = document, list[Node]()
    for key in path:
        seen.append(node)
        found = [value for name, value in node.value if name.value == key] if isinstance(node, MappingNode) else []
        if isinstance(node, SequenceNode) and key.isdecimal():
            found = node.value[int(key) : int(key) + 1]
        if not found:
            raise ParamsError(f"{where}: {PARAMS} has no such key, or shares it with another part; write it out there")
        node = found[0]
    if isinstance(node.value, list):
        raise InputError(f"{where} holds several values in {PARAMS}; write it by hand")
    counts = number_of_uses(document)
    if any(counts[id(part)] > 1 for part in (*seen, node)):
        raise InputError(f"{where} lies in a part of {PARAMS} that another part shares (an anchor); write it by hand")
    return node.start_mark.index, node.end_mark.index


def number_of_uses(document: Node) -> dict[int, int]:
    """Return how often each node stands in the document: more than once where there is an alias."""
    counts: dict[int, int] = {}
    todo = [document]
    while todo:
        node = todo.pop()
        counts[id(node)] = counts.get(id(node), 0) + 1
        if counts[id(node)] > 1 or not isinstance(node.value, list):
            continue
        todo += [part for pair in node.value for part in (pair if isinstance(pair, tuple) else (pair,))]
    return counts


def scalar(value: Any) -> str:
    """Return a value as YAML text that each reader takes for the same: 1.0e-05, since 1e-05 is a string to some."""
    if isinstance(value, float):
        shown = repr(value)
        mantissa, e, exponent = shown.partition("e")
        return f"{mantissa if '.' in mantissa else mantissa + '.0'}e{exponent}" if e else shown
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return str(value)
    text = str(value)
    if PLAIN.fullmatch(text) and text.lower() not in WORDS:
        return text
    return json.dumps(text, ensure_ascii=False)
