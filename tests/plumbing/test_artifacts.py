import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from components.plumbing.artifacts import (
    FILES,
    Layout,
    artifact,
    artifact_names,
    checkpoints,
    digest_of,
    observations,
    read_json,
    replacing,
    replacing_folder,
    write_json,
    write_text,
    writing,
)
from components.plumbing.errors import ArtifactError, DiskFullError


@dataclass(frozen=True)
class Inputs:
    data: Path = artifact("ingest/data.txt")
    model: Path = artifact("ingest/model/")


@dataclass(frozen=True)
class Outputs:
    data: Path = artifact("data.txt")
    checkpoints: Path = checkpoints()
    observations: Path = observations()


def make_artifact(folder: Path, text: str = "rows") -> Path:
    with writing(folder) as partial:
        (partial / "data.txt").write_text(text)
        (partial / "model").mkdir()
        (partial / "model" / "weights").write_text("1 2 3")
    return folder


def siblings(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.parent.iterdir())


def test_artifact_appears_whole_with_the_hash_of_every_file(tmp_path: Path) -> None:
    folder = make_artifact(tmp_path / "ingest")
    assert siblings(folder) == ["ingest"]
    assert list(read_json(folder / FILES)) == ["data.txt", "model/weights"]


def test_failed_work_leaves_the_last_good_artifact(tmp_path: Path) -> None:
    folder = make_artifact(tmp_path / "ingest")

    def fail() -> None:
        with writing(folder) as partial:
            (partial / "data.txt").write_text("half")
            raise RuntimeError("gate")

    with pytest.raises(RuntimeError, match="gate"):
        fail()
    assert (folder / "data.txt").read_text() == "rows"
    assert siblings(folder) == ["ingest"]


def test_killed_work_leaves_the_last_good_artifact_and_the_next_run_succeeds(tmp_path: Path) -> None:
    folder = make_artifact(tmp_path / "ingest")
    code = (
        "import os, sys, signal; from pathlib import Path; from components.plumbing.artifacts import writing\n"
        "with writing(Path(sys.argv[1])) as partial:\n"
        "    (partial / 'data.txt').write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    process = subprocess.run([sys.executable, "-c", code, str(folder)], check=False)
    assert process.returncode == -signal.SIGKILL
    assert (folder / "data.txt").read_text() == "rows"
    make_artifact(folder, "new rows")
    assert (folder / "data.txt").read_text() == "new rows"
    assert siblings(folder) == ["ingest"]


def test_full_disk_says_so_and_loses_nothing(tmp_path: Path) -> None:
    folder = make_artifact(tmp_path / "ingest")

    def fill() -> None:
        with writing(folder):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(
        DiskFullError, match=r"no space left on the disk while writing .*ingest; nothing earlier is lost"
    ):
        fill()
    assert (folder / "data.txt").read_text() == "rows"


def test_inputs_are_bound_and_checked(tmp_path: Path) -> None:
    layout = Layout(tmp_path, "tiny", "validate")
    make_artifact(layout.of("ingest"))
    inputs = layout.inputs(Inputs)
    assert inputs.data.read_text() == "rows"
    assert (inputs.model / "weights").read_text() == "1 2 3"
    assert list(layout.input_digests(Inputs)) == ["ingest/data.txt", "ingest/model/weights"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "data.txt").write_text("other"), "data.txt is not the file that was recorded"),
        (lambda folder: (folder / "data.txt").unlink(), "data.txt is missing"),
        (lambda folder: (folder / "model" / "extra.pkl").write_text("x"), r"extra.pkl .* was never recorded"),
        (lambda folder: (folder / FILES).unlink(), "is not a whole artifact"),
        (lambda folder: (folder / FILES).write_text("{"), "files.json is not JSON"),
    ],
)
def test_input_that_is_not_what_was_recorded_is_refused(
    tmp_path: Path, spoil: Callable[..., Any], message: str
) -> None:
    layout = Layout(tmp_path, "tiny", "validate")
    spoil(make_artifact(layout.of("ingest")))
    with pytest.raises(ArtifactError, match=message):
        layout.inputs(Inputs)


def test_outputs_lie_in_their_places(tmp_path: Path) -> None:
    layout = Layout(tmp_path, "tiny", "finetune")
    outputs = layout.outputs(Outputs, folder=tmp_path / "partial", fingerprint="abc")
    assert outputs.data == tmp_path / "partial" / "data.txt"
    assert outputs.checkpoints == tmp_path / "checkpoints" / "tiny" / "finetune" / "abc"
    assert outputs.observations == tmp_path / "observations" / "tiny" / "finetune"
    assert artifact_names(Outputs) == ["data.txt"]


def test_same_content_has_the_same_digest(tmp_path: Path) -> None:
    one, two, other = (make_artifact(tmp_path / n / "ingest", t) for n, t in (("a", "x"), ("b", "x"), ("c", "y")))
    assert digest_of(one) == digest_of(two) != digest_of(other)
    assert digest_of(tmp_path / "nothing") is None


def test_json_is_refused_where_it_would_not_be_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "report.json", {"loss": float("nan")})
    assert not (tmp_path / "report.json").exists()


def test_file_that_cannot_be_written_leaves_the_one_before_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "new" / "kept.txt"
    write_text(path, "before")

    def fail() -> None:
        with replacing(path) as partial:
            partial.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_text() == "before"
    assert list(path.parent.iterdir()) == [path]


def test_threads_that_write_one_file_leave_one_whole_text(tmp_path: Path) -> None:
    texts = [str(number) * 100_000 for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda text: write_text(tmp_path / "kept", text, durable=False), texts * 4))
    assert (tmp_path / "kept").read_text() in texts
    assert list(tmp_path.iterdir()) == [tmp_path / "kept"]


def test_folder_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    with replacing_folder(folder) as new:
        (new / "old.txt").write_text("whole")
    with pytest.raises(FileNotFoundError), replacing_folder(folder) as new:
        (new / "missing/new.txt").write_text("half")
    assert [path.name for path in folder.iterdir()] == ["old.txt"]
    (tmp_path / ".folder.partial").mkdir()
    (tmp_path / ".folder.partial/left.txt").touch()  # by a process that was killed
    with replacing_folder(folder) as new:
        (new / "new.txt").write_text("whole")
        assert (folder / "old.txt").read_text() == "whole"
    assert [path.name for path in folder.iterdir()] == ["new.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
