import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from flows.pipeline.changes import are_gone
from flows.pipeline.graph import open_repo
from tests.patience import PATIENCE_S, wait_until
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
import sys, zc.lockfile
lock = zc.lockfile.LockFile(sys.argv[1])
print("held", flush=True)
sys.stdin.read()
"""


def test_long_command_of_dvc_is_waited_for_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for command in (["git", "init", "-q", "."], ["dvc", "init", "-q"]):
        run(command, tmp_path)
    repo = open_repo(tmp_path)
    words = [sys.executable, "-c", HOLD, str(tmp_path / ".dvc/tmp/lock")]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, **pipes) as holder, ThreadPoolExecutor(1) as pool:
        assert holder.stdin is not None
        assert holder.stdout is not None
        holder.stdout.readline()
        pool.submit(wait_until, lambda: caplog.messages).add_done_callback(lambda _: holder.stdin.close())
        with repo.lock:
            assert holder.wait(timeout=PATIENCE_S) == 0
    (told,) = caplog.messages
    assert re.fullmatch(rf"DVC is in use: python.* \(process {holder.pid}, for \d+ s\); waiting for it to end", told)
