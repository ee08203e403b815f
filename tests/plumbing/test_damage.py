"""Bytes that changed where nobody looks: in DVC's cache, or in a file that kept its time."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from prefect.logging import disable_run_logger

from components.__main__ import sound_inputs
from components.plumbing.artifacts import FILES, Layout, artifact, writing
from components.plumbing.damage import damaged_objects, drop_damaged, fault_of, locked_outs
from components.plumbing.errors import ArtifactError
from flows.pipeline.graph import Stage, open_repo
from flows.pipeline.stage import reproduce
from tests.projects import run

DVC_YAML = """
stages:
  ingest:
    foreach: [tiny]
    do:
      cmd: mkdir -p artifacts/${item}/ingest && cp -r made/. artifacts/${item}/ingest
      deps: [made]
      outs:
        - artifacts/${item}/ingest/rows.txt
        - artifacts/${item}/ingest/model/
        - artifacts/${item}/ingest/files.json
"""
ROWS = "artifacts/tiny/ingest/rows.txt"
MODEL = "artifacts/tiny/ingest/model"
RECORD = "artifacts/tiny/ingest/files.json"


@dataclass(frozen=True)
class Inputs:
    rows: Path = artifact("ingest/rows.txt")
    model: Path = artifact("ingest/model/")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which DVC made one artifact, with a file and a folder."""
    root = tmp_path_factory.mktemp("damage") / "project"
    with writing(root / "made") as folder:
        (folder / "rows.txt").write_text("rows")
        (folder / "model").mkdir()
        (folder / "model" / "weights").write_text("1 2 3")
        (folder / "model" / "config").write_text("{}")
    (root / "dvc.yaml").write_text(DVC_YAML)
    for command in (["git", "init", "-q", "."], ["dvc", "init", "-q"], ["dvc", "repro", "-q"]):
        run(command, root)
    return root


@pytest.fixture
def project(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "project"
    shutil.copytree(made, root, symlinks=True)
    monkeypatch.chdir(root)
    return root


def objects(root: Path) -> dict[str, Path]:
    """The objects of the cache, by the output or the part of one that each is of."""
    outs = {path.relative_to(root).as_posix(): md5 for path, md5 in locked_outs(root, "ingest@tiny")}
    listed = json.loads(object_of(root, outs[MODEL]).read_text())
    return {path: object_of(root, md5) for path, md5 in outs.items()} | {
        f"{MODEL}/{part['relpath']}": object_of(root, part["md5"]) for part in listed
    }


def object_of(root: Path, md5: str) -> Path:
    return root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]


def flip(path: Path, old: bytes, new: bytes) -> None:
    """Change bytes of a file, which keeps its size, time and mode."""
    seen, held = path.stat(), path.read_bytes()
    assert old in held
    path.chmod(0o644)
    path.write_bytes(held.replace(old, new, 1))
    path.chmod(seen.st_mode)
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))


def bring_up_to_date(root: Path) -> tuple[str, bool]:
    stage = Stage("ingest", "tiny", "", (), retries=0, retry_delay_s=0, timeout_s=None)
    with disable_run_logger():
        outcome = reproduce.fn(root, stage, is_changed=not (root / ROWS).exists(), force=False)
    return outcome.state, outcome.is_restored


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        (ROWS, b"rows", b"rowz"),
        (f"{MODEL}/weights", b"2", b"3"),
        (MODEL, b"weights", b"weightz"),  # the list of the folder's files
        (MODEL, b"[", b"{"),
        (RECORD, b"rows", b"rowz"),
        (RECORD, b"{", b"["),
    ],
)
def test_damaged_object_is_dropped_and_what_made_it_runs_again(
    project: Path, made: Path, name: str, old: bytes, new: bytes
) -> None:
    shutil.rmtree(project / "artifacts")
    flip(objects(project)[name], old, new)
    assert bring_up_to_date(project) == ("ran", False)
    for path in (ROWS, f"{MODEL}/weights", RECORD):
        assert (project / path).read_bytes() == (made / path).read_bytes()
    cache = open_repo(project).cache.local
    assert [found for _, md5 in locked_outs(project, "ingest@tiny") for found in damaged_objects(cache, md5)] == []
    shutil.rmtree(project / "artifacts")
    assert bring_up_to_date(project) == ("cached", True)


def test_damaged_file_comes_back_from_a_sound_cache(project: Path) -> None:
    run(["dvc", "status"], project)  # DVC has seen the file
    flip(project / ROWS, b"rows", b"rowz")
    assert "up to date" in run(["dvc", "status"], project).stdout
    assert fault_of(project, "tiny", "ingest") == f"{project / ROWS} is not the file that was recorded"
    assert bring_up_to_date(project) == ("cached", True)
    assert (project / ROWS).read_text() == "rows"


@pytest.mark.parametrize(("name", "old", "new"), [(f"{MODEL}/weights", b"2", b"3"), (MODEL, b"weights", b"weightz")])
def test_stage_takes_away_damaged_inputs_and_the_same_command_mends_them(
    project: Path, name: str, old: bytes, new: bytes
) -> None:
    shutil.rmtree(project / "artifacts")
    flip(objects(project)[name], old, new)
    assert "is cached" in run(["dvc", "repro"], project).stdout
    layout = Layout(project, "tiny", "validate")
    with pytest.raises(ArtifactError, match=r"weights is .* taken away.* run the same command again"):
        sound_inputs(layout, Inputs)
    assert "Running stage" in run(["dvc", "repro"], project).stdout
    assert sound_inputs(layout, Inputs).model == project / MODEL
    assert drop_damaged(project, "tiny", ["ingest"]) == []


def test_without_dvcs_account_nothing_is_taken_away(project: Path) -> None:
    (project / "dvc.lock").unlink()
    flip(project / ROWS, b"rows", b"rowz")
    with pytest.raises(ArtifactError, match=r"is not the file that was recorded; 'modelyard run tiny' brings it back"):
        sound_inputs(Layout(project, "tiny", "validate"), Inputs)
    (project / "artifacts/tiny/ingest" / FILES).unlink()
    assert "is missing" in (fault_of(project, "tiny", "ingest") or "")
