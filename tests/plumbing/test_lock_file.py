import threading
from pathlib import Path

import pytest
from zc.lockfile import LockFile

from components.plumbing import lock_file
from components.plumbing.lock_file import locked_stages

WHOLE = "schema: '2.0'\nstages:\n  ingest@tiny:\n    cmd: a\n  validate@tiny:\n    cmd: b\n"
HALF = "schema: '2.0'\nstages:\n  ingest@tiny:\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    (tmp_path / "dvc.lock").write_text(HALF)
    return tmp_path


def test_file_that_dvc_is_writing_is_read_once_it_is_whole(project: Path) -> None:
    held = LockFile(str(project / ".dvc/tmp/lock"))  # as DVC takes it

    def finish() -> None:
        (project / "dvc.lock").write_text(WHOLE)
        held.close()

    writer = threading.Timer(0.3, finish)
    writer.start()
    assert list(locked_stages(project)) == ["ingest@tiny", "validate@tiny"]
    writer.join()
    LockFile(str(project / ".dvc/tmp/lock")).close()  # nobody holds it now


def test_command_that_holds_dvc_s_lock_for_long_is_not_waited_for(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_file, "WAIT_S", 0.1)
    (project / "dvc.lock").write_text(WHOLE)
    held = LockFile(str(project / ".dvc/tmp/lock"))
    try:
        assert len(locked_stages(project)) == 2
    finally:
        held.close()


def test_file_without_stages_is_an_error_and_no_file_has_none(project: Path) -> None:
    (project / "dvc.lock").write_text("half")
    with pytest.raises(ValueError, match="holds no stages"):
        locked_stages(project)
    (project / "dvc.lock").unlink()
    assert locked_stages(project) == {}
