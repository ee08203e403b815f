"""How a retraining ends: in time, patiently, and never twice for a failed gate. The loop is in tests/end_to_end."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from components.plumbing.errors import BusyError, ModelyardError, PromotionError, StoreError, TimeLimitError
from components.plumbing.locks import hold
from components.plumbing.processes import identity
from flows.pipeline.running import FOLDER, WORKER_VARIABLE, is_at_work, time_limit
from flows.pipeline.stage import StageError
from flows.upkeep import retrain
from flows.upkeep.retrain import patiently
from flows.upkeep.worker import for_runs
from tests.patience import PATIENCE_S


def test_run_over_its_limit_is_stopped_and_says_so() -> None:
    started = time.monotonic()
    with pytest.raises(TimeLimitError, match=r"tiny: .* longer than 1 s and was stopped; .*limit_s of its schedule"):
        with time_limit(1, "tiny"):
            time.sleep(5 * PATIENCE_S)
    assert time.monotonic() - started < PATIENCE_S


def test_run_within_its_limit_is_left_alone() -> None:
    handler = signal.getsignal(signal.SIGINT)
    with time_limit(60, "tiny"):
        pass
    with time_limit(None, "tiny"):
        pass
    assert signal.getsignal(signal.SIGINT) is handler


def test_interrupt_of_the_user_stays_one() -> None:
    with pytest.raises(KeyboardInterrupt), time_limit(600, "tiny"):  # noqa: PT012 -- no sooner than all is waited for
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        time.sleep(PATIENCE_S)


ORPHAN = """
import os, sys, time
from flows.pipeline.running import WORKER_VARIABLE, time_limit
from components.plumbing.processes import identity
import psutil
os.environ[WORKER_VARIABLE] = identity(psutil.Process(os.getppid()))
try:
    with time_limit(None, "tiny"):
        print(os.getpid(), flush=True)
        time.sleep(600)
except KeyboardInterrupt:
    open(sys.argv[1], "w").write("ended")
"""


def test_run_ends_with_its_worker(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, '-c', {ORPHAN!r}, {str(tmp_path / 'note')!r}])\ntime.sleep(600)"
    )
    worker = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    run = psutil.Process(int(worker.stdout.readline()))
    worker.kill()
    worker.wait()
    worker.stdout.close()
    run.wait(timeout=PATIENCE_S)
    assert (tmp_path / "note").read_text() == "ended"


def transient(message: str) -> StageError:
    error = StageError(message)
    error.is_transient = True
    return error


@pytest.mark.parametrize(
    ("errors", "num_calls"),
    [
        ([StoreError("gone"), transient("the MLflow store cannot be reached")], 3),
        ([StoreError("gone")] * 3, 3),
        ([PromotionError("worse", report={})], 1),
        ([StageError("accuracy below the bar")], 1),
    ],
)
def test_what_does_not_answer_is_asked_again_and_a_failed_gate_never(
    errors: list[ModelyardError], num_calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrain, "RETRY_DELAYS_S", (0, 0))
    left, calls = list(errors), []

    def call() -> str:
        calls.append(1)
        if left:
            raise left.pop(0)
        return "done"

    if len(errors) < num_calls:
        assert patiently(call) == "done"
    else:
        with pytest.raises(type(errors[-1])):
            patiently(call)
    assert len(calls) == num_calls


def test_runs_of_a_worker_inherit_its_variables_for_the_time_only(tmp_path: Path) -> None:
    before, folder = dict(os.environ), Path.cwd()
    with for_runs(tmp_path):
        assert os.environ[WORKER_VARIABLE] == identity()
        assert Path.cwd() == tmp_path
    assert dict(os.environ) == before
    assert Path.cwd() == folder


def test_second_worker_of_a_project_is_told(tmp_path: Path) -> None:
    with hold(tmp_path, "worker.process", doing="modelyard worker", wait=False):
        code = (
            "import sys; from pathlib import Path; from components.plumbing.locks import hold\n"
            "with hold(Path(sys.argv[1]), 'worker.process', doing='x', wait=False): pass"
        )
        done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert BusyError.__name__ in done.stderr


def test_note_of_a_process_tells_whether_a_run_is_at_work(tmp_path: Path) -> None:
    folder = tmp_path / FOLDER
    folder.mkdir(parents=True)
    (folder / "a.json").write_text(json.dumps({"process": identity()}))
    (folder / "b.json").write_text(json.dumps({"process": f"{os.getpid()}:0"}))  # the number was given to another
    assert is_at_work(tmp_path, "a")
    assert not is_at_work(tmp_path, "b")
    assert not is_at_work(tmp_path, "c")
