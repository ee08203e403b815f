"""The benchmark of compressed models: what it makes of answers and times, and how it chooses the best way."""

import importlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import results

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "benchmarks"


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module("compression_figures")


@pytest.fixture
def sides(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module("compression_sides")


def found(figures: Any, name: str, rates: list[float], **changes: Any) -> Any:
    judged = figures.Judged(accuracy=0.88, lost=changes.pop("lost", 0.0), low=-0.01, high=0.02)
    same = figures.Changed(scores=0.0, labels=0.0, most=0.0)
    given = {
        "as_run": "batches of 8", "judged": {"validation": judged, "test": judged}, "size_bytes": 10_000_000,
        "p50_ms": 1.0, "p99_ms": 2.0, "as_measured": same, "in_batches": same, "safety": "ONNX, no pickle",
    }  # fmt: skip
    return figures.Found(name=name, rows_per_s=rates, **(given | changes))


def test_accuracy_that_is_lost_has_a_paired_interval(figures: Any) -> None:
    random = np.random.default_rng(0)
    actual = random.integers(0, 3, 1000)
    float_guess = np.where(random.random(1000) < 0.9, actual, (actual + 1) % 3)
    guess = float_guess.copy()
    guess[:20] = (actual[:20] + 1) % 3
    judged = figures.judged_of(actual, float_guess, guess)
    lost = (float_guess == actual).mean() - (guess == actual).mean()
    assert judged.accuracy == pytest.approx((guess == actual).mean())
    assert judged.lost == pytest.approx(lost)
    assert 0 < judged.low < lost < judged.high < 0.04  # of two unpaired samples it would be twice as wide
    assert figures.judged_of(actual, float_guess, float_guess).words.endswith("(+0.0 [+0.0, +0.0])")


def test_answers_among_others_are_told_by_bits_and_by_labels(figures: Any) -> None:
    alone = np.array([[0.9, 0.1], [0.49, 0.51], [0.2, 0.8], [0.3, 0.7]], np.float32)
    assert figures.changed_of(alone, alone.copy()).words == "to the bit"
    near = alone.copy()
    near[0] = np.nextafter(near[0], np.float32(0))
    changed = figures.changed_of(alone, near)
    assert (changed.scores, changed.labels) == (0.25, 0.0)
    assert changed.words.endswith("no label")
    near[1] = [0.51, 0.49]
    assert "25.0 % of the labels" in figures.changed_of(alone, near).words


def test_limits_are_those_of_the_recipe(figures: Any) -> None:
    torch = found(figures, figures.REFERENCE, [100.0, 100.0, 200.0], size_bytes=100_000_000)
    ours = found(figures, figures.OURS, [700.0, 500.0, 1200.0], lost=0.02, size_bytes=19_000_000)
    peer = found(figures, "peer", [300.0, 300.0, 300.0])
    all_of_them = {one.name: one for one in (torch, ours, peer)}
    rows = {row.what: row for row in figures.rows_of("movie_sentiment", all_of_them)}
    speed = rows["movie_sentiment: rows a second beside torch fp32"]
    assert (speed.value, speed.at_least, speed.is_met) == (6.0, 6.0, True)
    assert rows["movie_sentiment: rows a second beside peer"].is_met is None
    assert rows["movie_sentiment: accuracy lost on the test split"].is_met is False
    assert rows["movie_sentiment: bytes beside the float weights"].is_met is True
    assert rows["movie_sentiment: rows with other scores alone than among others, as served"].is_met is True
    speed_elsewhere = figures.rows_of("wide_mlp", all_of_them)[1]
    assert speed_elsewhere.is_met is None


def test_table_has_the_fastest_first(figures: Any) -> None:
    several = [
        found(figures, figures.REFERENCE, [100.0]), found(figures, figures.OURS, [400.0]),
        found(figures, "peer", [900.0], in_batches=figures.Changed(scores=0.5, labels=0.01, most=0.1)),
    ]  # fmt: skip
    head, *lines = figures.table_of({one.name: one for one in several})
    assert [line[0] for line in lines] == ["peer", figures.OURS, figures.REFERENCE]
    assert {len(line) for line in lines} == {len(head)}
    assert lines[0][3] == "9.00"
    assert "1.0 % of the labels" in lines[0][9]
    assert lines[1][9] == "to the bit"


def test_fastest_way_is_found_beyond_the_size_that_is_tried_first(sides: Any) -> None:
    class Slow:
        def __init__(self, seconds_a_call: float, size: int) -> None:
            self.seconds, self.size = seconds_a_call, size

        def predict(self, rows: list[int]) -> None:
            time.sleep(self.seconds * -(-len(rows) // self.size))

    ways = [
        sides.Way(kind, Slow(seconds, size), size)
        for kind, seconds in (("good", 0.005), ("bad", 0.02), ("worse", 0.04)) for size in (8, sides.TRIED, 64)
    ]  # fmt: skip
    best = sides.fastest(ways, list(range(256)), at_least_s=0.0)
    assert best.words == "batches of 64, good"


@pytest.mark.parametrize(
    ("script", "words", "said"),
    [
        ("compression.py", ["--peers", "nowhere"], "nowhere lacks ctranslate2, openvino, nncf: pip install --target"),
        ("compression.py", ["--recipes", "no_such"], "there is no compressed model of no_such"),
        ("service.py", ["--recipes", "no_such"], "artifacts/no_such has no bundle"),
    ],
)
def test_what_it_lacks_is_said_in_a_line(tmp_path: Path, script: str, words: list[str], said: str) -> None:
    model = tmp_path / "artifacts" / "digits" / "compress" / "model"
    model.mkdir(parents=True)
    env = os.environ | {"MODELYARD_RESULTS": str(tmp_path / "results")}
    done = subprocess.run(
        [sys.executable, FOLDER / script, *words, "--project", tmp_path], cwd=ROOT, capture_output=True, text=True,
        check=False, env=env,
    )  # fmt: skip
    assert done.returncode == results.CANNOT_RUN
    assert said in done.stderr
    assert not (tmp_path / "results").exists()
