import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from components.plumbing.errors import DiskFullError, ModelyardError
from components.plumbing.processes import (
    end,
    family,
    find,
    identity,
    is_alive,
    is_running,
    start,
    uninterrupted,
    wait_until_ready,
)
from tests.patience import PATIENCE_S

SLEEPS = ["sh", "-c", "sleep 60 & sleep 60; wait"]
STUBBORN = ["sh", "-c", "trap '' TERM; sleep 60 & sleep 60; wait"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_comes_at_the_end_of_what_must_not_be_interrupted(number: signal.Signals) -> None:
    done: list[str] = []

    def taken(_number: int, _frame: object) -> None:
        done.append("signal")

    before = signal.signal(number, taken)
    try:
        with uninterrupted():
            signal.raise_signal(number)
            signal.raise_signal(number)
            done.append("work")
        assert done == ["work", "signal"]
        assert signal.getsignal(number) is taken
    finally:
        signal.signal(number, before)


def test_process_is_known_by_its_number_and_its_start() -> None:
    known = identity()
    number, created = known.split(":")
    assert find(known) == psutil.Process()
    assert is_alive(f"{number}:{int(created) + 1}")  # a clock that is set moves the start of all processes
    assert not is_alive(f"{number}:{int(created) - 100}")
    assert not is_alive(number)
    assert not is_alive("")


def test_process_that_nobody_asked_about_is_not_alive(tmp_path: Path) -> None:
    process = start([sys.executable, "-c", "pass"], folder=tmp_path, log=tmp_path / "log")
    known = identity(process)
    while process.status() != psutil.STATUS_ZOMBIE:
        pass
    assert not is_alive(known)
    assert family(process) == []
    process.wait()


@pytest.mark.parametrize(("command", "when_asked"), [(SLEEPS, True), (STUBBORN, False)])
def test_end_takes_all_that_was_started(tmp_path: Path, command: list[str], when_asked: bool) -> None:
    process = start(command, folder=tmp_path, log=tmp_path / "log")
    while len(members := family(process)) < 3:
        pass
    assert end([process], timeout_s=PATIENCE_S if when_asked else 0.2) is when_asked
    assert not any(map(is_running, members))


def test_server_that_ends_or_stays_silent_shows_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, health = tmp_path / "log", "http://127.0.0.1:9/readyz"
    process = start(["sh", "-c", "echo it cannot"], folder=tmp_path, log=log)
    with pytest.raises(ModelyardError, match=r"(?s)^it ended; the last lines of .*log:\n  it cannot$"):
        wait_until_ready(process, health, name="it", timeout_s=PATIENCE_S, log=log)
    end([process], timeout_s=PATIENCE_S)
    process = start(SLEEPS, folder=tmp_path, log=log)
    with pytest.raises(ModelyardError, match=r"^it was not ready after 0.1 s \(ready_timeout_s\); the last lines"):
        wait_until_ready(process, health, name="it", timeout_s=0.1, log=log, setting="ready_timeout_s")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    with pytest.raises(DiskFullError, match="on which it could not start"):
        wait_until_ready(process, health, name="it", timeout_s=0.1, log=log)
    end([process], timeout_s=PATIENCE_S)


@pytest.mark.parametrize(("how", "stays"), [("start", False), ("start_to_stay", True)])
def test_what_is_started_ends_with_who_started_it_unless_it_is_to_stay(tmp_path: Path, how: str, stays: bool) -> None:
    code = (
        f"from pathlib import Path; from components.plumbing.processes import {how}, identity; import time\n"
        f"print(identity({how}(['sleep', '60'], folder=Path('.'), log=Path('log'))), flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    ) as starter:  # fmt: skip
        assert starter.stdout is not None
        known = starter.stdout.readline().strip()
        starter.kill()
    process = find(known)
    if stays:
        assert process is not None
        assert end([process], timeout_s=PATIENCE_S)
    elif process is not None:
        psutil.wait_procs([process], timeout=PATIENCE_S)
    assert not is_alive(known)
