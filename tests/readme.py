"""What README.md tells a reader to type, taken from the file itself."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROGRAMS = ("modelyard ", "dvc ", "make ", "eval ", "source ", "curl ", "pip ")


def text() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")


def blocks() -> list[str]:
    """The fenced blocks that are commands; the tree of files is none."""
    return [block for block in re.findall(r"```\n(.*?)```", text(), re.S) if "dvc.yaml " not in block]


def commands_of(block: str) -> list[str]:
    """The commands of a block: after `$` where it shows answers, too, else each line; with what a backslash joins."""
    lines = [line.strip("\n") for line in re.split(r"(?<!\\)\n", block.strip("\n"))]
    asked = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    return asked or lines


def spoken() -> list[str]:
    """The commands in tables and sentences."""
    prose = re.sub(r"```.*?```", "", text(), flags=re.S)
    cells = [cell for row in re.findall(r"^\|.*\|$", prose, re.M) for cell in row.split("|")[2:3]]
    told = [span for cell in cells for span in re.findall(r"`([^`]+)`", cell) if span.startswith(PROGRAMS)]
    return told + re.findall(r"`((?:source|pip) [^`]+)`", prose)


def commands() -> list[str]:
    """All of them, in the order of the README, each once."""
    found = [command for block in blocks() for command in commands_of(block)] + spoken()
    return list(dict.fromkeys(found))
