"""The champion gate on a real generator of images."""

import shutil
from pathlib import Path

from components.__main__ import run_stage
from components.plumbing.artifacts import read_json
from components.tracking.tracker import NullTracker
from tests.promotion.test_gate import check, recipe, verdicts


def test_generators_of_images(generated: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(generated, tmp_path / "project"))
    run_stage(root, "tiny", "compress", tracker=NullTracker())
    equal, spoiled = verdicts(root, tmp_path, recipe("digit_gan"))
    check(equal, spoiled, metric="frechet_distance")
    report = read_json(root / "artifacts/tiny/compress/report.json")
    assert abs(equal.figures["champion"] - report["quality"]) < 1e-3
