import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext as does_not_raise
from pathlib import Path
from typing import Any

import pytest

from components.plumbing.errors import BusyError
from components.plumbing.locks import held, hold
from tests.patience import PATIENCE_S, wait_until

HOLDER = """
import sys, time
from pathlib import Path
from components.plumbing.locks import hold
with hold(Path(sys.argv[1]), "tiny", doing="modelyard run tiny", wait=False):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def other(tmp_path: Path) -> Any:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def enter(root: Path, *, wait: bool) -> None:
    with hold(root, "tiny", doing="test", wait=wait):
        pass


def test_second_run_is_told_who_holds_the_recipe(tmp_path: Path, other: Any) -> None:
    with pytest.raises(BusyError, match=rf"tiny is in use: modelyard run tiny \(process {other.pid}, for \d+ s\)"):
        enter(tmp_path, wait=False)


def test_second_run_waits_where_it_may(tmp_path: Path, other: Any, caplog: pytest.LogCaptureFixture) -> None:
    started = time.monotonic()
    other.terminate()
    enter(tmp_path, wait=True)
    assert time.monotonic() - started < PATIENCE_S  # the holder would sleep for ten times as long
    assert other.wait() != 0


def test_process_that_is_about_to_end_is_waited_for_in_any_case(
    tmp_path: Path, other: Any, caplog: pytest.LogCaptureFixture
) -> None:
    note = tmp_path / ".modelyard/locks/tiny.json"
    held_by = json.loads(note.read_text())
    note.write_text(json.dumps(held_by | {"works_for": ["1:0"]}))  # its driver is gone
    with ThreadPoolExecutor(1) as pool:
        entered = pool.submit(enter, tmp_path, wait=False)
        wait_until(lambda: "waiting for it to end" in caplog.text)
        assert not entered.done()
        other.terminate()
        entered.result()


def test_killed_holder_leaves_no_lock(tmp_path: Path, other: Any) -> None:
    other.kill()
    other.wait()
    with does_not_raise():
        enter(tmp_path, wait=False)


def test_other_recipes_are_free(tmp_path: Path, other: Any) -> None:
    with hold(tmp_path, "another", doing="test", wait=False):
        assert set(held(tmp_path)) >= {"another"}
