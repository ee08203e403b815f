"""The choice and naming of a few golden requests that the page offers to ask with one click."""

from collections.abc import Sequence
from typing import Any

MOST = 4
GOOD_LENGTHS = range(30, 161)
"""The lengths, in characters, of a text that says something and can be read at a glance."""
NAME_LENGTH = 60


def rank(text: str) -> tuple[bool, int]:
    """Return a sort key that puts texts of a readable length first, then shorter texts before longer."""
    return len(text) not in GOOD_LENGTHS, len(text)


def of_every_label(labelled: Sequence[tuple[str, Any]]) -> list[Any]:
    """Return at most MOST values: the first of each label, then the second of each, and so on."""
    groups: dict[str, list[Any]] = {}
    for label, value in labelled:
        groups.setdefault(label, []).append(value)
    rounds = [group[number] for number in range(MOST) for group in groups.values() if number < len(group)]
    return rounds[:MOST]


def named(text: str) -> dict[str, Any]:
    short = " ".join(text.split())
    return {"name": short if len(short) <= NAME_LENGTH else f"{short[: NAME_LENGTH - 1]}…", "value": text}
