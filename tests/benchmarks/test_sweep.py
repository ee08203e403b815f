"""The benchmark of sweeps: what it makes of the times, and what it sees of processes."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import results

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "sweep.py"
BUSY = """
import os, subprocess, sys, time
if len(sys.argv) > 1:
    while time.process_time() < 0.5: pass
else:
    held = bytearray(64 * 2**20)
    subprocess.run([sys.executable, __file__, "child"])
    while time.process_time() < 1: pass
"""


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(SCRIPT.parent)
    return importlib.import_module("sweep_figures")


def fit(pid: int, trial: str, began: float, ended: float) -> dict[str, Any]:
    return {"pid": pid, "born": 0.0, "began": began, "ended": ended, "folder": f"/x/trials/{trial}/checkpoints"}


def test_waiting_for_the_rest_of_a_wave_is_no_cost_of_a_trial(figures: Any) -> None:
    fits = [fit(1, "a", 3, 10), fit(2, "b", 4, 20), fit(1, "c", 11, 12), fit(1, "d", 21.5, 25)]
    between, first = figures.gaps(fits, {"a": 0, "b": 0, "c": 0, "d": 1})
    assert (between, first) == ([1.0, 1.5], [3.0, 4.0])
    assert figures.gaps(fits, {})[0] == [1.0, 9.5]  # where there are no waves


def test_best_figure_is_that_of_the_trials_that_were_through_by_then(figures: Any) -> None:
    def found(best: tuple[tuple[float, float], ...], through_s: float) -> Any:
        return figures.Found(best, 30.0, through_s, 9.0, 2**20, 2, 1, 8.0, (0.5, 1.5), (2.0,))

    ours = found(((0.0, 0.5), (10.0, 0.7), (20.0, 0.9)), 20.0)
    assert [ours.at(seconds) for seconds in (0, 9, 10, 30)] == [0.5, 0.5, 0.7, 0.9]
    peer = found(((0.0, 0.5), (8.0, 0.8)), 12.0)
    rows = figures.rows_of("digits", {"ours": [ours], "Optuna": [peer]})
    assert rows[0].value == pytest.approx(0.7 - 0.8)  # after the 12 seconds in which the peer was through
    assert rows[0].is_met is False
    assert rows[1].value == 1.0
    assert rows[1].is_met
    assert "2 done, 1 pruned" in figures.notes_of("digits", {"ours": [ours]})[0]


@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes as Linux shows them")
def test_footprint_counts_what_ended_between_two_looks(tmp_path: Path) -> None:
    """In a process of its own, which takes in what its children leave."""
    (tmp_path / "busy.py").write_text(BUSY)
    code = (
        "import sys, json, psutil; from footprint import Footprint; one = Footprint();"
        f"code = one.watch(psutil.Popen([sys.executable, {str(tmp_path / 'busy.py')!r}]), limit_s=60);"
        "print(json.dumps([code, one.cpu_s, one.peak_bytes, one.cpu_at(0)]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=SCRIPT.parent, capture_output=True, text=True, check=True)
    status, cpu_s, peak_bytes, at_first = json.loads(done.stdout)
    assert status == 0
    assert 1.4 < cpu_s < 3
    assert peak_bytes > 64 * 2**20
    assert at_first < cpu_s


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--ray", "nowhere"], "nowhere has no ray: pip install --target nowhere 'ray[tune]==2.60.0'"),
        (["--trials", "3"], "there is nothing to compare"),
    ],
)
def test_what_it_lacks_is_said_in_a_line(tmp_path: Path, words: list[str], said: str) -> None:
    env = os.environ | {"MODELYARD_RESULTS": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, SCRIPT, *words], cwd=ROOT, capture_output=True, text=True, check=False, env=env
    )
    assert done.returncode == results.CANNOT_RUN
    assert said in done.stderr
    assert not list(tmp_path.iterdir())
