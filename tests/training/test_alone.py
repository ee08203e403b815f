"""The training core imports with torch, transformers, accelerate, safetensors, numpy and pydantic alone."""

from pathlib import Path

import pytest

from tests.projects import ROOT
from tests.training_core import link_packages, run_alone

CORE = ("training", "objectives", "models", "params")
IMPORT_ALL = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)"


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return link_packages(tmp_path_factory.mktemp("alone") / "packages")


def test_the_training_core_imports_alone(packages: Path, tmp_path: Path) -> None:
    files = [path for folder in CORE for path in (ROOT / "components" / folder).rglob("*.py")]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files]
    assert len(names) > 50
    done = run_alone(packages, "-c", IMPORT_ALL, "components.fitting", *sorted(names), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
