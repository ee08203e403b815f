import os
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import psutil
import pytest

from components.plumbing.processes import DRIVER_VARIABLE, identity
from tests.projects import ROOT, environment, make_project

WORK = """
import time
from components.plumbing import stopping
stopping.LOOK_EVERY_S, stopping.ASK_AGAIN_AFTER_S = 0.05, 0.1
asked = stopping.Stopping()
{before}
try:
    with asked.work():
        print('at work', flush=True)
        {lose}
        time.sleep(60)
except KeyboardInterrupt:
    time.sleep(0.5)
    print('ended', flush=True)
"""
LOSE = """
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            pass
"""


@pytest.fixture
def at_work(request: pytest.FixtureRequest) -> Generator[subprocess.Popen[str]]:
    """A process at work, under a shell that is its driver."""
    code = WORK.format(lose=request.param, before="")
    with subprocess.Popen(
        ["bash", "-c", f'"{sys.executable}" -c "$CODE" & echo $!; wait'], text=True, stdout=subprocess.PIPE,
        start_new_session=True, env=os.environ | {"CODE": code},
    ) as shell:  # fmt: skip
        try:
            yield shell
        finally:
            os.killpg(shell.pid, signal.SIGKILL)


@pytest.mark.parametrize("at_work", ["", LOSE], indirect=True, ids=["heard", "lost once"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_the_work_even_where_it_was_lost_once(at_work: subprocess.Popen[str], number: int) -> None:
    worker = worker_of(at_work)
    os.kill(worker, number)
    assert at_work.stdout.readline() == "ended\n"


@pytest.mark.parametrize("at_work", ["", LOSE], indirect=True, ids=["heard", "lost once"])
def test_work_ends_when_its_driver_was_killed(at_work: subprocess.Popen[str]) -> None:
    worker_of(at_work)
    at_work.kill()
    assert at_work.stdout.readline() == "ended\n"


def test_signal_that_was_lost_before_the_work_keeps_it_from_starting() -> None:
    lost = "try: signal.raise_signal(signal.SIGTERM)\nexcept KeyboardInterrupt: pass"
    code = "import signal\n" + WORK.format(lose="", before=lost)
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, timeout=300, check=True)
    assert done.stdout == "ended\n"


def worker_of(shell: subprocess.Popen[str]) -> int:
    assert shell.stdout is not None
    worker = int(shell.stdout.readline())
    assert shell.stdout.readline() == "at work\n"
    return worker


def test_stage_whose_driver_ended_before_it_looked_ends_by_itself(tmp_path: Path) -> None:
    """A stage takes seconds to import; a driver that is killed meanwhile is known by what the environment says."""
    driver = psutil.Popen([sys.executable, "-c", "pass"])
    known = identity(driver)
    driver.wait()
    project = make_project(tmp_path / "project")
    done = subprocess.run(
        [sys.executable, "-m", "components", "ingest", "tiny"], cwd=project, timeout=300, capture_output=True,
        text=True, env=environment(PYTHONPATH=str(ROOT), **{DRIVER_VARIABLE: known}),
    )  # fmt: skip
    assert done.returncode == 130, done.stderr
    assert "ingest@tiny: interrupted" in done.stderr
