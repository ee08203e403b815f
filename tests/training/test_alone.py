"""The training core works with torch, transformers, accelerate, safetensors, numpy and pydantic alone."""

import json
from pathlib import Path

import pytest

from tests.projects import ROOT
from tests.training_core import link_packages, run_alone

CORE = ("training", "objectives", "models", "params")
IMPORT_THEN_RUN = """
import importlib, runpy, sys
for name in sys.argv.pop(1).split():
    importlib.import_module(name)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.long
def test_the_training_core_imports_and_trains_each_family_alone(tmp_path: Path) -> None:
    files = [path for folder in CORE for path in (ROOT / "components" / folder).rglob("*.py")]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files]
    assert len(names) > 50
    script = [str(ROOT / "benchmarks" / "gpu.py"), "--device", "cpu", "--small", "--out", "found.json"]
    packages = link_packages(tmp_path / "packages")
    done = run_alone(packages, "-c", IMPORT_THEN_RUN, " ".join(sorted(names)), *script, cwd=tmp_path)
    assert done.returncode == 0, done.stderr + done.stdout
    found = json.loads((tmp_path / "found.json").read_text())
    assert set(found["families"]) == {"encoder", "gan", "gpt", "lstm", "mlp"}
    for of in found["families"].values():
        assert of["resume"] == {"is_exact": True}
        assert 0 < of["correctness"]["cpu_fp32"] < 1e-5  # of numbers that fp32 holds to seven digits
        assert of["speed"]["units_per_s"] > 0
        assert 0 < of["speed"]["share_of_rate"] < 1
