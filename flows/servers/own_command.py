"""The command with which Modelyard starts itself again, in another process."""

import sys
from pathlib import Path

CODE = [sys.executable, "-P", "-m"]  # -P: the project's folder may hold a 'flows' of its own


def modelyard(root: Path, *words: str) -> list[str]:
    """Return the words of the command `modelyard` on a project, run by this process's Python."""
    return [*CODE, "flows.cli", "--project", str(root), *words]
