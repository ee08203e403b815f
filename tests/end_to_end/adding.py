"""How a test adds to a copy of the project what a contributor would: files, and entries of the tables by name."""

import re
from pathlib import Path

from tests.projects import run


def insert_entry(path: Path, table: str, entry: str) -> None:
    """Put a line at the end of the dict literal of that name."""
    text = path.read_text(encoding="utf-8")
    found = re.search(rf"^{table}\b[^\n]*= {{\n(?:    [^\n]*\n)*", text, re.MULTILINE)
    assert found, f"{path} has no table {table}"
    path.write_text(f"{text[: found.end()]}    {entry}\n{text[found.end() :]}", encoding="utf-8")


def insert_before(path: Path, anchor: str, added: str) -> None:
    """Put text before the first line that begins so."""
    text = path.read_text(encoding="utf-8")
    found = re.search(rf"^{re.escape(anchor)}", text, re.MULTILINE)
    assert found, f"{path} has no line that begins with {anchor}"
    path.write_text(text[: found.start()] + added + text[found.start() :], encoding="utf-8")


def touched(folder: Path) -> list[str]:
    """What git sees, as `M params.yaml`; a new folder is one entry."""
    lines = run(["git", "status", "--porcelain"], folder).stdout.splitlines()
    return sorted(" ".join(line.split()) for line in lines)
