import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.__main__ import run_stage
from components.artifacts import read_json, sha256_of, write_json
from components.errors import ArtifactError, ModelyardError, ParityError
from components.package.bento import build_bento, serve_command, serving
from components.package.bundle import Golden
from components.package.smoke import compare
from components.tracking import NullTracker
from tests.projects import edit
from tests.tiny_model import finish


class Register(NullTracker):
    """Remembers what was registered."""

    def __init__(self) -> None:
        self.registered: list[tuple[str, str]] = []

    def register_model(self, folder: Path, *, digest: str) -> dict[str, str]:
        self.registered.append((folder.name, digest))
        return {"name": "tiny", "version": "1", "alias": "champion"}


@pytest.fixture
def project(compressed: Path, tmp_path: Path, bento_home: Path) -> Path:
    return Path(shutil.copytree(compressed, tmp_path / "project"))


def test_bundle_is_served_as_it_was_measured(packaged: Path, bento_home: Path):
    artifact = packaged / "artifacts/tiny/package"
    report = read_json(artifact / "report.json")
    assert report["digest"] == sha256_of(artifact / "bundle/manifest.json")
    assert report["tag"] == f"tiny:{report['digest'][:12]}"
    assert report["num_golden"] == 20
    assert report["num_other_labels"] == 0
    assert report["max_score_difference"] <= 1e-3
    assert report["float_agreement"] > 0.8
    assert (bento_home / "bentos/tiny" / report["digest"][:12] / "bento.yaml").is_file()


def test_provenance_is_beside_the_bundle_and_never_in_it(packaged: Path, bento_home: Path):
    provenance = packaged / "observations/tiny/package/provenance.json"
    found = read_json(provenance)
    assert found["machine"]["num_cores"] >= 1
    assert found["speeds"]["int8"]["rows_per_s"] > 0
    assert found["packaged_at"]
    assert not list((packaged / "artifacts").rglob("provenance.json"))
    tag = read_json(packaged / "artifacts/tiny/package/report.json")["tag"]
    stored = bento_home / "bentos" / tag.replace(":", "/") / "src/provenance.json"
    assert stored.read_bytes() == provenance.read_bytes()


def test_other_answers_than_measured_stop_the_stage(project: Path, bento_home: Path):
    compress = project / "artifacts/tiny/compress"
    table = pq.read_table(compress / "predictions.parquet")
    shifted = [[score + 0.002 for score in scores] for scores in table["scores"].to_pylist()]
    column = pa.array(shifted, pa.list_(pa.float32()))
    pq.write_table(table.set_column(3, "scores", column), compress / "predictions.parquet")
    finish(compress, read_json(compress / "report.json"))
    tracker, before = Register(), bentos(bento_home)
    with pytest.raises(ParityError, match=r"differs by 0.002 in a score .*max_score_difference 0.001.*row \d+"):
        run_stage(project, "tiny", "package", tracker=tracker)
    assert not (project / "artifacts/tiny/package").exists()
    assert read_json(project / "observations/tiny/package/report.json")["num_golden"] == 20
    assert bentos(bento_home) == before
    assert tracker.registered == []


def test_good_bundle_is_registered_by_its_digest(project: Path):
    edit(project, "tiny.package.num_golden_rows", 3)
    tracker = Register()
    report = run_stage(project, "tiny", "package", tracker=tracker)
    assert tracker.registered == [("bundle", report["digest"])]
    assert report["num_golden"] == 3


def test_server_that_is_not_ready_in_time_stops_the_stage(packaged: Path, tmp_path: Path):
    tag = read_json(packaged / "artifacts/tiny/package/report.json")["tag"]
    before = servers()
    with (
        pytest.raises(ModelyardError, match=r"not ready after 0.2 s \(ready_timeout_s\)"),
        serving(tag, ready_timeout_s=0.2, log=tmp_path / "serve.log"),
    ):
        pass
    assert servers() == before


def test_server_that_cannot_start_shows_its_last_lines(bento_home: Path, tmp_path: Path):
    with (
        pytest.raises(ModelyardError, match=r"(?s)tiny:000000000000 ended; the last lines.*not found"),
        serving("tiny:000000000000", ready_timeout_s=60, log=tmp_path / "serve.log"),
    ):
        pass


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_server_ends_with_the_stage(packaged: Path, bento_home: Path, tmp_path: Path, number: signal.Signals):
    tag = read_json(packaged / "artifacts/tiny/package/report.json")["tag"]
    code = (
        "import sys, time; from pathlib import Path; from components.package.bento import serving\n"
        f"with serving({tag!r}, ready_timeout_s=60, log=Path({str(tmp_path / 'log')!r})):\n"
        "    print('ready', flush=True); time.sleep(60)"
    )
    stage = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert stage.stdout is not None
    assert stage.stdout.readline() == b"ready\n"
    started = psutil.Process(stage.pid).children(recursive=True)
    assert len(started) >= 2
    os.kill(stage.pid, number)
    stage.wait(timeout=30)
    stage.stdout.close()
    _, alive = psutil.wait_procs(started, timeout=15)
    assert not alive


def test_bento_is_built_again_only_for_another_provenance(packaged: Path, bento_home: Path, tmp_path: Path):
    bundle = packaged / "artifacts/tiny/package/bundle"
    provenance = packaged / "observations/tiny/package/provenance.json"
    tag = build_bento(bundle, provenance)
    stored = bento_home / "bentos" / tag.replace(":", "/")
    before = (stored / "bento.yaml").stat().st_mtime_ns
    assert build_bento(bundle, provenance) == build_bento(bundle, None) == build_bento(bundle, tmp_path / "none") == tag
    write_json(tmp_path / "other", read_json(provenance) | {"tag": "tiny:of another"})
    assert build_bento(bundle, tmp_path / "other") == tag
    assert (stored / "bento.yaml").stat().st_mtime_ns == before


def test_folder_that_is_no_bundle_is_refused(tmp_path: Path):
    with pytest.raises(ArtifactError, match=r"is not a bundle \(no manifest.json\)"):
        build_bento(tmp_path, None)


def test_serve_command_listens_where_it_is_told():
    command = serve_command("tiny:0123", "127.0.0.1", 3001)
    assert command[0] == sys.executable
    assert command[-6:] == ["serve", "tiny:0123", "--host", "127.0.0.1", "--port", "3001"]


def test_comparison_counts_labels_and_the_worst_difference():
    golden = [
        Golden(row=7, text="a", label="x", scores=[0.9, 0.1], float_label="x"),
        Golden(row=8, text="b", label="y", scores=[0.4, 0.6], float_label="x"),
    ]
    answers: list[dict[str, Any]] = [
        {"label": "x", "scores": {"x": 0.9, "y": 0.1}},
        {"label": "x", "scores": {"x": 0.55, "y": 0.45}},
    ]
    parity = compare(golden, answers)
    assert (parity.num_golden, parity.num_other_labels, parity.float_agreement) == (2, 1, 1.0)
    assert parity.max_score_difference == pytest.approx(0.15)
    assert parity.examples == "'row 8'"
    with pytest.raises(ModelyardError, match="1 answers to 2 texts"):
        compare(golden, answers[:1])


def bentos(home: Path) -> set[str]:
    return {path.parent.name for path in home.glob("bentos/*/*/bento.yaml")}


def servers() -> set[int]:
    time.sleep(0.1)
    return {child.pid for child in psutil.Process().children(recursive=True) if "bentoml" in " ".join(child.cmdline())}
