"""A docstring stands alone: it names what it describes, and does not begin as half of a sentence."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
HALF = re.compile(r"(What|How|Who|Of|The same)\b")


def docstrings() -> Iterator[tuple[str, str, str]]:
    """Each docstring of the project's code, with its file and the name of what it describes."""
    for path in sorted(path for folder in ("components", "flows", "serving") for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield path.relative_to(ROOT).as_posix(), getattr(node, "name", ""), ast.get_docstring(node) or ""


def test_no_docstring_begins_as_half_of_a_sentence() -> None:
    found = list(docstrings())
    assert sum(bool(said) for _, _, said in found) > 3000
    half = {(path, name): said.splitlines()[0] for path, name, said in found if HALF.match(said)}
    assert half == {}
