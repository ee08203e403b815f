import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flows.pipeline.changes import are_gone
from flows.pipeline.graph import open_repo
from tests.patience import PATIENCE_S
from tests.projects import run


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([{"changed outs": {"artifacts/tiny/ingest/card.json": "deleted"}}], True),
        ([{"changed outs": {"a": "deleted", "b": "not in cache"}}], False),
        ([{"changed outs": {"a": "deleted", "b": "modified"}}], False),
        ([{"changed deps": {"params.yaml": "modified"}}, {"changed outs": {"a": "deleted"}}], False),
        ([{"changed outs": {"a": "deleted"}}, "changed command"], False),
        ([{"changed deps": {"a": "deleted"}}], False),
        (["always changed"], False),
        ([], False),
    ],
)
def test_only_deleted_outputs_that_the_cache_has_are_gone(changes: list[Any], expected: bool) -> None:
    assert are_gone(changes) is expected


HOLD = """
import sys, time, zc.lockfile
lock = zc.lockfile.LockFile(sys.argv[1])
print("held", flush=True)
time.sleep(float(sys.argv[2]))
"""


def test_long_command_of_dvc_is_waited_for_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for command in (["git", "init", "-q", "."], ["dvc", "init", "-q"]):
        run(command, tmp_path)
    repo = open_repo(tmp_path)
    words = [sys.executable, "-c", HOLD, str(tmp_path / ".dvc/tmp/lock"), "3.6"]  # DVC itself waits for three seconds
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with repo.lock:
            assert holder.wait(timeout=PATIENCE_S) == 0
    (told,) = caplog.messages
    assert re.fullmatch(rf"DVC is in use: python.* \(process {holder.pid}, for \d s\); waiting for it to end", told)
