"""What a stage that failed or was killed left without an artifact: brought back, or left for others to tell of."""

import shutil
from pathlib import Path

import pytest

from components.plumbing import last_good
from components.plumbing.artifacts import writing
from components.plumbing.errors import DiskFullError
from components.plumbing.last_good import bring_back, is_lost
from components.plumbing.locks import hold
from tests.projects import run

DVC_YAML = """
stages:
  ingest:
    foreach: [tiny]
    do:
      cmd: mkdir -p artifacts/${item}/ingest && cp made/* artifacts/${item}/ingest
      deps: [made]
      outs: ["artifacts/${item}/ingest/rows.txt", "artifacts/${item}/ingest/files.json"]
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project in which DVC made one artifact, of which a file is gone."""
    root = tmp_path / "project"
    with writing(root / "artifacts/tiny/ingest") as folder:
        (folder / "rows.txt").write_text("rows")
    shutil.copytree(root / "artifacts/tiny/ingest", root / "made")
    (root / "artifacts/tiny/ingest/rows.txt").unlink()
    (root / "dvc.yaml").write_text(DVC_YAML)
    for command in (["git", "init", "-q", "."], ["dvc", "init", "-q"], ["dvc", "repro", "-q"]):
        run(command, root)
    (root / "artifacts/tiny/ingest/rows.txt").unlink()
    return root


def test_what_is_gone_is_brought_back_whole(project: Path) -> None:
    assert is_lost(project / "artifacts/tiny/ingest")
    assert bring_back(project) == ["ingest@tiny"]
    assert (project / "artifacts/tiny/ingest/rows.txt").read_text() == "rows"
    assert bring_back(project) == []


def test_artifact_of_a_stage_at_work_is_left_to_it(project: Path) -> None:
    with hold(project, "tiny.stage", doing="ingest@tiny", wait=False):
        assert bring_back(project) == []
    assert bring_back(project) == ["ingest@tiny"]


def test_lock_with_a_merge_s_marks_stops_no_command(project: Path) -> None:
    lock = project / "dvc.lock"
    lock.write_text("<<<<<<< HEAD\n" + lock.read_text())
    assert bring_back(project) == []


def test_full_disk_does_not_hide_what_stopped_the_stage(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> bool:
        raise DiskFullError("no space left on the disk")

    monkeypatch.setattr(last_good, "copy_object", full)
    assert bring_back(project) == []
    assert is_lost(project / "artifacts/tiny/ingest")


def test_object_with_other_bytes_than_its_name_says_is_not_brought_back(project: Path) -> None:
    for kept in (project / ".dvc/cache/files/md5").rglob("*"):
        if kept.is_file() and kept.read_bytes() == b"rows":
            kept.chmod(0o644)
            kept.write_bytes(b"rats")
    assert bring_back(project) == []
    assert is_lost(project / "artifacts/tiny/ingest")
