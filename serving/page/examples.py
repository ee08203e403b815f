"""What the page offers to ask with one click: a few of the golden requests that the bundle was proven with."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

GOLDEN = "golden.json"
MOST = 4
GOOD_LENGTHS = range(30, 161)
"""Characters of a text that says something and can be read at a glance."""
MOST_VALUES = 2_000
"""Numbers of an array; more would make the page heavy."""
NAME_LENGTH = 60


def examples_of(folder: Path, task: str) -> list[dict[str, Any]]:
    """Each with its `name` and its `value`, for the form of the task; none where the bundle holds none."""
    golden = folder / GOLDEN
    requests: list[dict[str, Any]] = json.loads(golden.read_text(encoding="utf-8")) if golden.is_file() else []
    if task == "text_classification":
        texts = [(label_of(one), one["request"]["texts"][0]) for one in requests]
        return [named(text) for text in of_every_label(sorted(texts, key=lambda one: rank(one[1])))]
    if task == "array_classification":
        arrays = [(label_of(one), one["request"]["arrays"][0]) for one in requests]
        chosen = of_every_label([(label, array) for label, array in arrays if len(array) <= MOST_VALUES])
        return [{"name": f"Example {number}", "value": array} for number, array in enumerate(chosen, start=1)]
    if task == "text_generation":
        prompts = sorted({one["request"]["prompt"] for one in requests} - {""}, key=rank)
        return [named(prompt) for prompt in prompts[:MOST]]
    seeds = dict.fromkeys(one["request"]["seed"] for one in requests)
    return [{"name": f"Seed {seed}", "value": seed} for seed in list(seeds)[:MOST]]


def label_of(golden: Mapping[str, Any]) -> str:
    return golden["answer"][0]["label"]


def rank(text: str) -> tuple[bool, int]:
    """Readable ones first, then the short ones."""
    return len(text) not in GOOD_LENGTHS, len(text)


def of_every_label(labelled: Sequence[tuple[str, Any]]) -> list[Any]:
    """The first of each label, then the second of each, MOST in all."""
    groups: dict[str, list[Any]] = {}
    for label, value in labelled:
        groups.setdefault(label, []).append(value)
    rounds = [group[number] for number in range(MOST) for group in groups.values() if number < len(group)]
    return rounds[:MOST]


def named(text: str) -> dict[str, Any]:
    short = " ".join(text.split())
    return {"name": short if len(short) <= NAME_LENGTH else f"{short[: NAME_LENGTH - 1]}…", "value": text}
