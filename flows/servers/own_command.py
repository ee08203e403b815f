"""How Modelyard starts itself again, in another process."""

import sys
from pathlib import Path

CODE = [sys.executable, "-P", "-m"]  # -P: the project's folder may hold a 'flows' of its own


def modelyard(root: Path, *words: str) -> list[str]:
    """The command `modelyard` on a project, as this process has it."""
    return [*CODE, "flows.cli", "--project", str(root), *words]
