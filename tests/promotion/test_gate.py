"""The champion gate on real models of every task: an equal passes, one that knows nothing does not."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from components.comparison.classifiers import ClassifierDuel
from components.comparison.duel import Comparison
from components.params import Promotion, Recipe
from components.plumbing.artifacts import FILES, files_of, read_json, write_json
from components.plumbing.errors import ArtifactError
from components.promotion.gate import Contender, Verdict, judge
from components.promotion.limits import Limits, faults_of
from components.recipes import load_recipe
from components.tasks.image_generation.duel import weighted
from components.tasks.image_generation.judging.frechet import moments_of
from components.tracking.registry import Version
from serving.bundle import identify
from tests.projects import ROOT
from tests.promotion.bundles import make_bundle, note, spoil
from tests.tiny_language import compress

GATE: dict[str, Any] = {
    "then": "promote", "bootstrap": {"num_samples": 100, "seed": 0, "confidence": 0.95}, "max_drop": 0.03,
    "slices": None, "latency": {"max_ratio": 50.0, "num_rows": 20}, "max_size_ratio": 1.1,
}  # fmt: skip


SURELY_WORSE = Comparison("1,000 rows", 0.9007, 0.8804, drop=0.0203, drop_low=0.0045, drop_high=0.0350)


def recipe(name: str, **changes: Any) -> Recipe:
    """A recipe of the project's with a gate for tiny models."""
    return replace(load_recipe(ROOT, name), promotion=Promotion.model_validate(GATE | changes, strict=False))


def contender(root: Path, number: int, folder: Path, change: Any = lambda _: None) -> Contender:
    bundle = make_bundle(root, folder, change)
    return Contender(Version("tiny", number, identify(bundle).version, identify(bundle).build, "", "bundle"), bundle)


def verdicts(root: Path, folder: Path, settings: Recipe) -> tuple[Verdict, Verdict]:
    """Of an equal and of one with spoiled weights."""
    champion = contender(root, 1, folder / "1")
    equal, spoiled = contender(root, 2, folder / "2", note("equal")), contender(root, 3, folder / "3", spoil)
    return judge(root, settings, champion, equal), judge(root, settings, champion, spoiled)


def check(equal: Verdict, spoiled: Verdict, *, metric: str) -> None:
    assert equal.passed
    assert equal.figures["metric"] == metric
    assert equal.figures["champion"] == equal.figures["challenger"]
    assert (equal.figures["drop"], equal.figures["drop_low"], equal.figures["drop_high"]) == (0, 0, 0)
    assert (equal.figures["size_ratio"], equal.figures["same_split"]) == (1, True)
    assert equal.figures["latency_ratio"] > 0
    (fault,) = spoiled.faults
    assert fault.startswith(f"{metric} ")
    assert "(max_drop 0.03)" in fault
    assert spoiled.figures["drop_high"] > 0.03
    assert spoiled.figures["drop"] > 0.03


def test_arrays(compressed_arrays: Path, tmp_path: Path) -> None:
    equal, spoiled = verdicts(compressed_arrays, tmp_path, recipe("digits"))
    check(equal, spoiled, metric="accuracy")
    report = read_json(compressed_arrays / "artifacts/tiny/compress/report.json")
    assert equal.figures["champion"] == pytest.approx(report["quality"], abs=1e-6)


@pytest.mark.parametrize("family", ["lstm"])
def test_language_models(tmp_path: Path, family: str) -> None:
    compress(tmp_path, family)
    table = pq.read_table(tmp_path / "artifacts/tiny/preprocess/test.parquet")
    equal, spoiled = verdicts(tmp_path, tmp_path / "made", recipe("speech_gpt"))
    check(equal, spoiled, metric="bits_per_byte")
    size = sum(map(len, (text.encode() for text in table["text"].to_pylist())))
    assert f"{size:,} bytes of the test split" in equal.figures["judged"]


def test_slice_that_got_worse_is_named(compressed: Path, tmp_path: Path) -> None:
    lenient = {"max_drop": 1.0, "indifference": 1.0}
    settings = recipe("movie_sentiment", **lenient, slices={"by": ["label"], "max_drop": 0.2, "min_rows": 10})
    equal, spoiled = verdicts(compressed, tmp_path, settings)
    assert equal.passed
    assert equal.figures["worst_slice_drop"] == 0
    assert any("rows of label " in fault and "(slices.max_drop 0.2)" in fault for fault in spoiled.faults)
    too_few = recipe("movie_sentiment", **lenient, slices={"by": ["label"], "max_drop": 0.2, "min_rows": 1000})
    assert verdicts(compressed, tmp_path / "again", too_few)[1].passed


def test_slower_and_larger_are_refused(compressed: Path, tmp_path: Path) -> None:
    settings = recipe("movie_sentiment", latency={"max_ratio": 1e-6, "num_rows": 20}, max_size_ratio=0.5)
    champion, same = contender(compressed, 1, tmp_path / "1"), contender(compressed, 2, tmp_path / "2", note("same"))
    slower, larger = judge(compressed, settings, champion, same).faults
    assert "(latency.max_ratio 1e-06)" in slower
    assert "1.00 times (max_size_ratio 0.5)" in larger


def faults(found: Comparison, **limits: float) -> list[str]:
    settings = Promotion.model_validate(GATE | limits, strict=False)
    same = {"metric": "accuracy", "unit": "row", "latency_ratio": 1.0, "size_ratio": 1.0}
    return faults_of(found, same, Limits(settings, ClassifierDuel.indifference), whose="the champion's")


def test_surely_worse_is_refused_whatever_max_drop_says() -> None:
    (fault,) = faults(SURELY_WORSE, max_drop=0.04)
    assert fault == (
        "accuracy 0.8804 beside the champion's 0.9007, worse by 0.0203: surely by 0.0045 (indifference 0.002)"
    )
    assert faults(replace(SURELY_WORSE, drop_low=0.0019), max_drop=0.04) == []  # nobody would notice so much
    (both,) = faults(SURELY_WORSE, max_drop=0.03)
    assert "surely by 0.0045" in both
    assert "by up to 0.0350 for all that 1,000 rows tell (max_drop 0.03)" in both


def test_figure_that_is_no_number_does_not_pass() -> None:
    nan = float("nan")
    (fault,) = faults(Comparison("rows", 0.9, nan, drop=nan, drop_low=nan, drop_high=nan), max_drop=0.03)
    assert "(max_drop 0.03)" in fault


def test_rows_of_another_split_are_not_judged_on(compressed: Path, tmp_path: Path) -> None:
    champion, challenger = (contender(compressed, number, tmp_path / str(number)) for number in (1, 2))
    root = Path(shutil.copytree(compressed, tmp_path / "project"))
    preprocess = root / "artifacts/tiny/preprocess"
    table = pq.read_table(preprocess / "test.parquet")
    pq.write_table(table.slice(1), preprocess / "test.parquet")
    write_json(preprocess / FILES, files_of(preprocess))
    with pytest.raises(ArtifactError, match="is not the test split that version 2 was judged on"):
        judge(root, recipe("movie_sentiment"), champion, challenger)
    (preprocess / "test.parquet").write_bytes(b"")
    with pytest.raises(ArtifactError, match="is not the file that was recorded"):
        judge(root, recipe("movie_sentiment"), champion, challenger)


def test_champion_of_another_task_is_not_compared(compressed: Path, tmp_path: Path) -> None:
    champion, challenger = (contender(compressed, number, tmp_path / str(number)) for number in (1, 2))
    write_json(champion.bundle / "model.json", champion.model | {"task": "array_classification"})
    with pytest.raises(ArtifactError, match="no metric compares them; promote with --force REASON"):
        judge(compressed, recipe("movie_sentiment"), champion, challenger)


def test_champion_that_lacks_a_label_is_wrong_on_it(compressed: Path, tmp_path: Path) -> None:
    def rename(folder: Path) -> None:
        told = read_json(folder / "predictor.json")
        write_json(folder / "predictor.json", told | {"labels": ["negative", "other"]})

    champion = contender(compressed, 1, tmp_path / "1", rename)
    verdict = judge(compressed, recipe("movie_sentiment"), champion, contender(compressed, 2, tmp_path / "2"))
    assert verdict.passed
    assert verdict.figures["champion"] <= 0.5 < 0.8 < verdict.figures["challenger"]


def test_moments_of_drawn_rows_are_those_of_the_rows_repeated() -> None:
    random = np.random.default_rng(0)
    features, weights = random.normal(size=(40, 3)), random.integers(0, 4, size=40).astype(np.float32)
    found, expected = weighted(features, weights), moments_of(np.repeat(features, weights.astype(int), axis=0))
    np.testing.assert_allclose(found.mean, expected.mean)
    np.testing.assert_allclose(found.covariance, expected.covariance)
