"""The README's tree is the real one."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent
LEFT_OUT = {"README.md", "LICENSE", "CONTRIBUTING.md", "CHANGELOG.md"}  # a reader finds these without a phrase


def listed() -> set[str]:
    """The paths of the README's tree."""
    block = next(b for b in re.findall(r"```\n(.*?)```", (ROOT / "README.md").read_text(), re.S) if "dvc.yaml " in b)
    paths: set[str] = set()
    folder = ""
    for line in block.splitlines():
        name, phrase = re.fullmatch(r"( *\S+)\s\s+(\S.*)", line).groups()  # pyright: ignore[reportOptionalMemberAccess]
        assert phrase
        if not name.startswith(" "):
            folder = name if name.endswith("/") else ""
            paths.add(name.rstrip("/"))
        else:
            paths.add(folder + name.strip().rstrip("/"))
    return paths


def tracked() -> set[str]:
    """Everything at the top, and one level down in the three layers."""
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    paths: set[str] = set()
    for file in files:
        parts = file.split("/")
        if parts[0].startswith(".") or parts[-1] == "__init__.py" or parts[0] in LEFT_OUT:
            continue
        paths.add(parts[0])
        if parts[0] in ("flows", "components", "serving"):
            paths.add("/".join(parts[:2]))
    return paths


def test_tree_is_the_real_tree():
    assert listed() - {"dvc.lock"} == tracked() - {"dvc.lock"}


def test_commands_of_the_readme_exist():
    from flows.cli import cli

    named = set(re.findall(r"modelyard ([a-z]+)\b(?! command)", (ROOT / "README.md").read_text()))
    assert named
    assert named <= set(cli.commands)
