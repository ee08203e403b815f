import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from components.__main__ import run_stage
from components.package.bento import build_bento, serve_command, serving
from components.package.smoke import Golden, compare
from components.plumbing.artifacts import read_json, sha256_of, write_json
from components.plumbing.errors import ArtifactError, ModelyardError, ParityError
from components.tracking.tracker import NullTracker
from serving.bundle import BundleId, identify
from tests.patience import PATIENCE_S, wait_until
from tests.projects import edit
from tests.tiny_model import finish


class Register(NullTracker):
    """Remembers what was registered."""

    def __init__(self) -> None:
        self.registered: list[tuple[str, Path, BundleId]] = []

    def register_model(self, folder: Path, *, weights: Path) -> dict[str, str]:
        self.registered.append((folder.name, weights, identify(folder)))
        return {"name": "tiny", "version": "1", "alias": "champion"}


@pytest.fixture
def project(compressed: Path, tmp_path: Path, bento_home: Path) -> Path:
    return Path(shutil.copytree(compressed, tmp_path / "project"))


def test_bundle_is_served_as_it_was_measured(packaged: Path, bento_home: Path) -> None:
    artifact = packaged / "artifacts/tiny/package"
    report = read_json(artifact / "report.json")
    assert report["digest"] == sha256_of(artifact / "bundle/model.json")
    assert report["build"] == sha256_of(artifact / "bundle/manifest.json")
    label = f"{report['digest'][:12]}-{report['build'][:12]}"
    assert report["tag"] == f"tiny:{label}"
    assert report["num_golden"] == 20
    assert report["num_other"] == 0
    assert report["max_difference"] <= 1e-3
    assert (bento_home / "bentos/tiny" / label / "bento.yaml").is_file()


def test_provenance_is_beside_the_bundle_and_never_in_it(packaged: Path, bento_home: Path) -> None:
    provenance = packaged / "observations/tiny/package/provenance.json"
    found = read_json(provenance)
    assert found["machine"]["num_cores"] >= 1
    assert found["speeds"]["int8"]["rows_per_s"] > 0
    assert found["packaged_at"]
    assert not list((packaged / "artifacts").rglob("provenance.json"))
    tag = read_json(packaged / "artifacts/tiny/package/report.json")["tag"]
    stored = bento_home / "bentos" / tag.replace(":", "/") / "src/provenance.json"
    assert stored.read_bytes() == provenance.read_bytes()


def test_other_answers_than_measured_stop_the_stage(project: Path, bento_home: Path) -> None:
    shift(project, 0.002)
    tracker, before = Register(), bentos(bento_home)
    with pytest.raises(
        ParityError, match=r"differs by 0.002 in a number .*max_difference 0.001.*request \d+\[0\].scores"
    ):
        run_stage(project, "tiny", "package", tracker=tracker)
    assert not (project / "artifacts/tiny/package").exists()
    assert read_json(project / "observations/tiny/package/report.json")["num_golden"] == 20
    assert bentos(bento_home) == before
    assert tracker.registered == []


def shift(project: Path, by: float) -> None:
    """Move the scores of the golden answers, as another machine's arithmetic may."""
    compress = project / "artifacts/tiny/compress"
    golden = read_json(compress / "results/golden.json")
    for one in golden:
        one["answer"][0]["scores"]["negative"] += by
    write_json(compress / "results/golden.json", golden)
    finish(compress, read_json(compress / "report.json"))


def test_good_bundle_is_registered(project: Path) -> None:
    edit(project, "tiny.package.num_golden", 3)
    tracker = Register()
    report = run_stage(project, "tiny", "package", tracker=tracker)
    identity = BundleId(report["digest"], report["build"])
    assert tracker.registered == [("bundle", project / "artifacts/tiny/finetune/model", identity)]
    assert report["num_golden"] == 3


def test_server_that_is_not_ready_in_time_stops_the_stage(packaged: Path, tmp_path: Path) -> None:
    tag = read_json(packaged / "artifacts/tiny/package/report.json")["tag"]
    before = servers()
    with (
        pytest.raises(ModelyardError, match=r"not ready after 0.2 s \(ready_timeout_s\)"),
        serving(tag, ready_timeout_s=0.2, log=tmp_path / "serve.log"),
    ):
        pass
    wait_until(lambda: servers() == before)


def test_server_that_cannot_start_shows_its_last_lines(bento_home: Path, tmp_path: Path) -> None:
    with (
        pytest.raises(ModelyardError, match=r"(?s)tiny:000000000000 ended; the last lines.*not found"),
        serving("tiny:000000000000", ready_timeout_s=60, log=tmp_path / "serve.log"),
    ):
        pass


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_server_ends_with_the_stage(packaged: Path, bento_home: Path, tmp_path: Path, number: signal.Signals) -> None:
    tag = read_json(packaged / "artifacts/tiny/package/report.json")["tag"]
    code = (
        "import sys, time; from pathlib import Path; from components.package.bento import serving\n"
        f"with serving({tag!r}, ready_timeout_s=60, log=Path({str(tmp_path / 'log')!r})):\n"
        "    print('ready', flush=True); time.sleep(600)"
    )
    stage = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert stage.stdout is not None
    assert stage.stdout.readline() == b"ready\n"
    started = psutil.Process(stage.pid).children(recursive=True)
    assert len(started) >= 2
    os.kill(stage.pid, number)
    stage.wait(timeout=PATIENCE_S)
    stage.stdout.close()
    _, alive = psutil.wait_procs(started, timeout=PATIENCE_S)
    assert not alive


def test_bento_is_built_again_only_for_another_provenance(packaged: Path, bento_home: Path, tmp_path: Path) -> None:
    bundle = packaged / "artifacts/tiny/package/bundle"
    provenance = packaged / "observations/tiny/package/provenance.json"
    tag = build_bento(bundle, provenance)
    stored = bento_home / "bentos" / tag.replace(":", "/")
    before = (stored / "bento.yaml").stat().st_mtime_ns
    assert build_bento(bundle, provenance) == build_bento(bundle, None) == build_bento(bundle, tmp_path / "none") == tag
    write_json(tmp_path / "other", read_json(provenance) | {"tag": "tiny:of another"})
    assert build_bento(bundle, tmp_path / "other") == tag
    assert (stored / "bento.yaml").stat().st_mtime_ns == before


def test_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"is not a bundle \(no manifest.json\)"):
        build_bento(tmp_path, None)


def test_serve_command_listens_where_it_is_told() -> None:
    command = serve_command("tiny:0123", "127.0.0.1", 3001)
    assert command[0] == sys.executable
    assert command[-6:] == ["serve", "tiny:0123", "--host", "127.0.0.1", "--port", "3001"]


def test_comparison_tells_numbers_from_everything_else() -> None:
    golden = [golden_of({"label": "x", "scores": {"x": 0.9, "y": 0.1}}), golden_of([{"tokens": [1, 2]}, "text", None])]
    same = compare(golden, [one["answer"] for one in golden])
    assert (same.num_golden, same.num_other, same.max_difference, same.examples) == (2, 0, 0.0, "")
    near = compare(golden, [{"label": "x", "scores": {"x": 0.75, "y": 0.25}}, golden[1]["answer"]])
    assert (near.num_other, near.max_difference) == (0, 0.15)
    assert near.examples.startswith("'request 0.scores.x'")
    other = compare(golden, [{"label": "y", "scores": {"x": 0.9, "y": 0.1}}, golden[1]["answer"]])
    assert (other.num_other, other.examples) == (1, "'request 0.label'")


@pytest.mark.parametrize(
    ("expected", "served"),
    [
        ([1.0], [1.0, 2.0]),
        ({"a": 1.0}, {"b": 1.0}),
        ({"a": 1.0}, {"a": 1.0, "b": 2.0}),
        (1.0, "1.0"),
        (1, True),
        (0.5, None),
        (0.5, float("nan")),
        ("a", "b"),
        ([], {}),
    ],
)
def test_answers_of_another_shape_or_word_are_others(expected: object, served: object) -> None:
    assert compare([golden_of(expected)], [served]).num_other == 1


def golden_of(answer: Any) -> Golden:
    return Golden(route="/classify", request={}, answer=answer)


def bentos(home: Path) -> set[str]:
    return {path.parent.name for path in home.glob("bentos/*/*/bento.yaml")}


def servers() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True) if is_server(child)}


def is_server(process: psutil.Process) -> bool:
    try:
        return any("bentoml" in word for word in process.cmdline())
    except psutil.Error:  # it has ended
        return False
