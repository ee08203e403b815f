"""What a stranger does: clone, and `make run`."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.projects import ROOT, run, tiny_recipe, write_params, write_rows
from tests.tiny import make_tiny_encoder, tiny_rows


@pytest.mark.long
def test_make_run_in_a_fresh_clone_gives_a_bundle(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    run(["git", "clone", "-q", str(ROOT), str(clone)], tmp_path)
    link_environment(clone)
    rows = tiny_rows(400)
    write_rows(clone / "data" / "rows.csv", rows)
    make_tiny_encoder(clone / "encoder", [text for text, _ in rows])
    write_params(clone, {"tiny": tiny_recipe()})
    others = locked(clone)  # of the project's own recipes
    assert others

    done = run(["make", "run", "RECIPE=tiny"], clone)

    bundle = clone / "artifacts/tiny/package/bundle"
    tag = json.loads((clone / "artifacts/tiny/package/report.json").read_text())["tag"]
    assert (bundle / "manifest.json").is_file()
    assert tag in done.stdout
    for words in ("accuracy", "interval", "baseline", "rows/s", "modelyard serve tiny", "dvc repro package@tiny"):
        assert words in done.stdout
    assert "git add dvc.lock params.yaml && git commit" in " ".join(done.stdout.split())
    assert {name: entry for name, entry in locked(clone).items() if not name.endswith("@tiny")} == others
    expected = {" M params.yaml", " M dvc.lock", "?? data/", "?? encoder/", "?? .venv"}
    left = set(run(["git", "status", "--porcelain"], clone).stdout.splitlines())
    assert left <= expected, f"left behind, neither committed nor ignored: {left - expected}"


def locked(clone: Path) -> dict[str, Any]:
    """The entries of dvc.lock."""
    return YAML(typ="safe").load(clone / "dvc.lock")["stages"]


def link_environment(clone: Path) -> None:
    """The environment that runs the tests, as if `make` had set it up: installing takes minutes and a network."""
    (clone / ".venv").symlink_to(ROOT / ".venv")
    stamp = ROOT / ".venv" / ".installed"
    for name in ("requirements.lock", "pyproject.toml"):
        shutil.copystat(stamp, clone / name)  # not newer than the environment
