import logging
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import f1_score

from components.__main__ import run_stage
from components.compress.choice import Candidate, choose, front_of
from components.compress.classification import Split, golden_numbers, quality_of_scores
from components.compress.measure import Speed, measure_rates, measure_speeds
from components.compress.paths import Inputs
from components.compress.showing import interval_of
from components.compress.trial import MAX_GOLDEN, CompressionTrial
from components.evaluate.figures import GATE_METRIC, shortened
from components.params import CompressionGate
from components.plumbing.artifacts import Layout, files_of, read_json, write_json
from components.plumbing.errors import ArtifactError, CompressionError, InputError, ParamsError
from components.plumbing.finished import drop_all_finished
from components.recipes import parse_recipe
from components.tasks import task_of
from components.tracking.tracker import NullTracker
from serving.tasks.text_classification.predictor import Predictor
from tests.compress.students.teachers import DISTILLATION
from tests.projects import edit, tiny_recipe
from tests.tasks.text_classification.test_evaluate import Notes
from tests.tiny_model import finish

GATE = CompressionGate(max_drop=0.01, min_speedup=3.0, max_size_ratio=0.3)
FAST = Speed(units_per_s=400.0, speedup=6.0, p50_ms=2.0, p99_ms=4.0)


JUDGED: dict[str, Any] = {"metric": "accuracy", "unit": "rows", "float_quality": 0.86}


@pytest.fixture
def project(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "project"))


@pytest.fixture(scope="module")
def trial(trained: Path) -> CompressionTrial[Any]:
    return task_of("text_classification").compress(Layout(trained, "tiny", "compress").inputs(Inputs))


def candidate(name: str, **changed: Any) -> Candidate:
    found: dict[str, Any] = {
        "name": name, "method": name, "sparsity": 0.0, "runner": None, "folder": Path(), "quality": 0.86, "drop": 0.0,
        "size_bytes": 1000, "size_ratio": 0.25, "network": "as trained", "drop_ends": (-0.01, 0.01), "batch_size": 1,
    }  # fmt: skip
    return Candidate(**(found | changed))


def test_stage_writes_a_folder_that_the_predictor_loads(compressed: Path) -> None:
    folder = compressed / "artifacts/tiny/compress"
    report = read_json(folder / "report.json")
    assert sorted(path.name for path in (folder / "model").iterdir()) == [
        "batching.json",
        "model.onnx",
        "predictor.json",
        "tokenizer.json",
    ]
    predictions = pq.read_table(folder / "results/predictions.parquet")
    assert predictions.column_names == ["row", "label_id", "predicted_id", "scores"]
    test = pq.read_table(compressed / "artifacts/tiny/preprocess/test.parquet")
    assert predictions["row"] == test["row"]
    scores = Predictor.load(folder / "model", threads=1).predict(test["text"].to_pylist())
    np.testing.assert_array_equal(np.array(predictions["scores"].to_pylist(), np.float32), scores)
    assert report["metric"] == "accuracy"
    assert report["quality"] == pytest.approx(np.mean(scores.argmax(axis=1) == test["label_id"].to_numpy()), abs=1e-6)
    assert report["quality"] > 0.8
    assert report["size_bytes"] == (folder / "model/model.onnx").stat().st_size
    assert report["agreement"] > 0.9
    assert read_json(folder / "metrics.json") == {
        "served": shortened(report["quality"]),
        "size_ratio": shortened(report["size_ratio"]),
        "validation": shortened(report["validation_quality"]),
    }


def test_measured_speeds_are_observations_only(compressed: Path) -> None:
    speeds = read_json(compressed / "observations/tiny/compress/speeds.json")
    assert sorted(speeds) == ["int8", "pruned_int8 0.3", "torch fp32", "torch fp32 in batches"]
    assert all(speed["rows_per_s"] > 0 for speed in speeds.values())
    assert (compressed / "observations/tiny/compress/candidates.png").stat().st_size > 5000
    report = read_json(compressed / "artifacts/tiny/compress/report.json")
    assert not [name for name in report if "rows_per_s" in name or name.endswith("_ms") or "speed" in name]


def test_same_inputs_give_the_same_bytes(compressed: Path, project: Path) -> None:
    run_stage(project, "tiny", "compress", tracker=NullTracker())
    assert files_of(project / "artifacts/tiny/compress") == files_of(compressed / "artifacts/tiny/compress")


def test_no_candidate_within_the_limits_names_figures_and_limits(project: Path) -> None:
    edit(project, "tiny.compress.gate", {"max_drop": 0.2, "min_speedup": 1.0e6, "max_size_ratio": 0.01})
    evaluate = project / "artifacts/tiny/evaluate"
    write_json(evaluate / "results" / GATE_METRIC, {"metric": "f1_macro"})
    finish(evaluate, {})
    with pytest.raises(
        CompressionError, match=r"nearest is .*int8.*: .* of torch fp32 \(min_speedup 1e\+06\)"
    ) as caught:
        run_stage(project, "tiny", "compress", tracker=NullTracker())
    assert "of the float model's bytes (max_size_ratio 0.01)" in str(caught.value)
    assert not (project / "artifacts/tiny/compress").exists()
    assert caught.value.report is not None
    assert caught.value.report["metric"] == "f1_macro"
    assert read_json(project / "observations/tiny/compress/report.json") == caught.value.report
    assert (project / "observations/tiny/compress/speeds.json").is_file()


def test_a_class_that_is_never_found_costs_little_accuracy_and_half_of_the_macro_f1() -> None:
    label_id = np.array([0] * 98 + [1] * 2)
    split = Split(row=np.arange(100), rows=[], label_id=label_id)
    always_the_first = np.tile(np.array([[0.9, 0.1]], np.float32), (100, 1))
    for metric, expected in (
        ("accuracy", 0.98),
        ("f1_macro", f1_score(label_id, [0] * 100, average="macro")),
        ("mcc", 0),
    ):
        assert quality_of_scores(always_the_first, split, metric).value == pytest.approx(expected)


def test_predictions_of_other_rows_are_refused(project: Path) -> None:
    evaluate = project / "artifacts/tiny/evaluate"
    table = pq.read_table(evaluate / "results/predictions.parquet")
    pq.write_table(table.slice(1), evaluate / "results/predictions.parquet")
    finish(evaluate, {})
    with pytest.raises(ArtifactError, match="run evaluate again"):
        run_stage(project, "tiny", "compress", tracker=NullTracker())


def test_golden_requests_are_answered_as_they_were_measured(compressed: Path) -> None:
    golden = read_json(compressed / "artifacts/tiny/compress/results/golden.json")
    test = pq.read_table(compressed / "artifacts/tiny/preprocess/test.parquet")
    assert [one["request"]["texts"] for one in golden] == [[text] for text in test["text"].to_pylist()]
    assert {one["route"] for one in golden} == {"/classify"}
    predictor = Predictor.load(compressed / "artifacts/tiny/compress/model", threads=1)
    for one in golden[:5]:
        assert one["answer"] == predictor.answers(predictor.predict(one["request"]["texts"]))


def test_golden_rows_are_spread_over_the_split() -> None:
    assert golden_numbers(3) == [0, 1, 2]
    chosen = golden_numbers(10 * MAX_GOLDEN)
    assert len(chosen) == MAX_GOLDEN
    assert (chosen[0], chosen[-1]) == (0, 10 * MAX_GOLDEN - 1)
    assert np.diff(chosen).max() <= 11


def test_fp32_is_a_candidate_without_quantization(trial: CompressionTrial[Any], project: Path) -> None:
    edit(project, "tiny.compress.candidates", [{"method": "fp32"}])
    run_stage(project, "tiny", "compress", tracker=NullTracker())
    report = read_json(project / "artifacts/tiny/compress/report.json")
    assert report["method"] == "fp32"
    assert report["agreement"] == 1.0
    assert report["mean_difference"] <= 1e-6
    assert onnx.load(project / "artifacts/tiny/compress/model/model.onnx") == trial.export()["model.onnx"]


def test_choice_is_the_better_of_like_sizes_whatever_the_speeds() -> None:
    candidates = [candidate("int8", drop=0.005), candidate("pruned_int8", size_bytes=995)]
    speeds = {"int8": Speed(900.0, 9.0, 1.0, 2.0), "pruned_int8": FAST}
    assert choose(candidates, speeds, GATE, **JUDGED).name == "pruned_int8"


def test_choice_is_the_smallest_where_sizes_differ() -> None:
    candidates = [candidate("int8"), candidate("pruned_int8", drop=0.005, size_bytes=500)]
    speeds = dict.fromkeys(("int8", "pruned_int8"), FAST)
    assert choose(candidates, speeds, GATE, **JUDGED).size_bytes == 500


def test_choice_is_the_fastest_where_the_recipe_prefers_speed(caplog: pytest.LogCaptureFixture) -> None:
    small, fast, near = candidate("small"), candidate("fast", size_bytes=2000), candidate("near", size_bytes=1500)
    speeds = {"small": FAST, "fast": replace(FAST, units_per_s=1000.0), "near": replace(FAST, units_per_s=985.0)}
    assert choose([small, fast, near], speeds, GATE, **JUDGED, prefer="speed") is near
    assert choose([small, fast, near], speeds, GATE, **JUDGED) is small
    loses = replace(near, drop=0.5)
    assert choose([small, fast, loses], speeds, GATE, **JUDGED, prefer="speed") is fast
    caplog.clear()
    quick = replace(fast, drop=0.5)
    assert choose([small, quick], speeds, GATE, **JUDGED, prefer="speed") is small
    (said,) = caplog.messages
    assert "what is faster is outside of compress.gate (fast: " in said


def test_a_round_of_a_small_model_takes_its_items_again() -> None:
    rounds = list[int]()

    def work(runner: object, items: Sequence[int]) -> int:
        rounds.append(len(items))
        return len(items)

    measure_rates({"one": None}, [1] * 10, work)
    first, *others = rounds
    assert first == 2
    assert len(set(others)) == 1
    assert others[0] > first
    assert others[0] % first == 0


def test_larger_model_is_served_where_int8_falls_to_chance_and_what_is_given_up_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    spoiled = candidate("int8", quality=0.5, drop=0.36)
    whole = candidate("fp32", size_bytes=4000, size_ratio=0.3)
    speeds = dict.fromkeys(("int8", "fp32"), FAST)
    assert choose([spoiled, whole], speeds, GATE, **JUDGED) is whole
    (said,) = caplog.messages
    assert said.startswith("fp32 is served, 0.0 MB: what is smaller is outside of compress.gate (int8: accuracy 0.5000")


def test_choice_is_the_recipe_s_first_of_equals() -> None:
    candidates = [candidate("pruned_int8"), candidate("int8")]
    speeds = dict.fromkeys(("int8", "pruned_int8"), FAST)
    assert choose(candidates, speeds, GATE, **JUDGED).name == "pruned_int8"


@pytest.mark.parametrize(
    ("changed", "speed", "fault"),
    [
        ({"quality": 0.8499, "drop": 0.0101}, FAST, "accuracy 0.8499 is 0.0101 worse than the float model's 0.8600"),
        ({"quality": float("nan"), "drop": float("nan")}, FAST, "max_drop 0.01"),
        ({}, Speed(100.0, 2.99, 2.0, 4.0), "2.99 times the rows/s"),
        ({"size_ratio": 0.31}, FAST, "0.310 of the float model's bytes"),
    ],
)
def test_each_limit_is_a_limit(changed: dict[str, float], speed: Speed, fault: str) -> None:
    with pytest.raises(CompressionError, match=fault):
        choose([candidate("int8", **changed)], {"int8": speed}, GATE, **JUDGED)


def test_figures_at_the_limit_pass() -> None:
    at_limit = candidate("int8", quality=0.85, drop=0.01, size_ratio=0.3)
    speeds = {"int8": Speed(1.0, 3.0, 1.0, 1.0)}
    assert choose([at_limit], speeds, GATE, **JUDGED) is at_limit


def test_rates_count_units_and_speedup_is_over_the_reference() -> None:
    def work(seconds_a_unit: float, items: Sequence[int]) -> int:
        time.sleep(seconds_a_unit * sum(items))
        return sum(items)

    runners = {"slow": 0.002, "fast": 0.0001}
    speeds = measure_speeds(runners, [2] * 10, work, reference="slow", num_latency_items=20)
    assert speeds["slow"].speedup == 1.0
    assert speeds["fast"].speedup > 1
    assert speeds["slow"].units_per_s <= 500
    assert 4 <= speeds["slow"].p50_ms <= speeds["slow"].p99_ms


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        (("candidates", 1, "sparsity"), 1.0, "compress.candidates.1.sparsity"),
        (("candidates", 0, "method"), "int4", "compress.candidates.0"),
        (("gate", "min_speedup"), 0, "compress.gate.min_speedup"),
        (("threads",), 0, "compress.threads"),
    ],
)
def test_values_out_of_range_are_refused(path: tuple[Any, ...], value: object, fault: str) -> None:
    recipe: Any = tiny_recipe()
    node = recipe["compress"]
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    with pytest.raises(ParamsError, match=fault):
        parse_recipe("tiny", recipe)


@pytest.mark.long
def test_the_smallest_of_the_students_is_served_and_a_run_again_trains_none(project: Path, tmp_path: Path) -> None:
    whole = {"layers": None, "feed_forward": 1.0, "heads": 1.0, "rank": None}
    wanted = {
        "distillation": DISTILLATION,
        "shapes": [whole | {"feed_forward": 0.5}],
        "search": {"seed": 0, "trials": 1, "layers": [1], "heads": [1.0, 0.5]},
    }
    edit(project, "tiny.compress.students", wanted)
    edit(project, "tiny.compress.candidates", [{"method": "int8"}])
    edit(project, "tiny.compress.gate", {"max_drop": 1.0, "min_speedup": 0.01, "max_size_ratio": 10.0})
    notes = Notes()
    report = run_stage(project, "tiny", "compress", tracker=notes)
    assert (report["num_candidates"], report["num_students"]) == (3, 2)
    curves = {name for name in notes.metrics if name.endswith("_train_loss")}
    assert len(curves) == 2
    assert "student_ff_0.5_train_loss" in curves
    assert all(name.startswith("student_") for name in curves)
    assert report["network"].startswith("1 layer")
    assert report["lost_low"] <= report["lost"] <= report["lost_high"]
    trained = {path: path.stat().st_mtime_ns for path in (project / "checkpoints").rglob("*.safetensors")}
    assert len(trained) >= 2
    drop_all_finished(project)
    edit(project, "tiny.compress.gate", {"max_drop": 1.0, "min_speedup": 0.02, "max_size_ratio": 9.0})
    again = run_stage(project, "tiny", "compress", tracker=NullTracker())
    assert {path: path.stat().st_mtime_ns for path in trained} == trained
    assert again == report
    page = (project / "observations/tiny/compress/candidates.html").read_text()
    assert "int8, 1 layer" not in page
    assert all(words in page for words in ("1 layer", "ff 0.5", "as trained", "chosen"))


def test_the_front_is_what_no_other_is_as_good_as_in_all() -> None:
    large, small = candidate("large", drop=0.0, size_bytes=4000), candidate("small", drop=0.01)
    worse, slow = candidate("worse", drop=0.02), candidate("slow", drop=0.01)
    speeds = {"large": FAST, "small": FAST, "worse": FAST, "slow": Speed(100.0, 2.0, 1.0, 2.0)}
    assert front_of([large, small, worse, slow], speeds) == [large, small]
    alike = candidate("alike", drop=0.01)  # as good in all as another: both stay
    assert front_of([small, alike], speeds | {"alike": FAST}) == [small, alike]


def test_each_further_limit_keeps_a_candidate_out() -> None:
    slow = Speed(units_per_s=400.0, speedup=6.0, p50_ms=2.0, p99_ms=4.0, batched_speedup=3.0)
    for name, limit, words in (
        ("min_batched_speedup", 3.5, r"3.00 times the rows/s of torch fp32 in batches \(min_batched_speedup 3.5\)"),
        ("max_p99_ms", 3.0, r"p99 4.00 ms \(max_p99_ms 3\)"),
    ):
        with pytest.raises(CompressionError, match=words):
            choose([candidate("int8")], {"int8": slow}, GATE.model_copy(update={name: limit}), **JUDGED)


def test_of_several_that_miss_the_limits_the_nearest_is_named() -> None:
    near, far = candidate("near", drop=0.012), candidate("far", drop=0.2)
    with pytest.raises(CompressionError, match=r"none of 2 candidates is within compress.gate; the nearest is near: "):
        choose([far, near], {"near": FAST, "far": FAST}, GATE, **JUDGED)


@pytest.mark.long
def test_students_that_cannot_be_fast_enough_are_not_trained(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    edit(project, "tiny.compress.students", {
        "distillation": DISTILLATION, "search": {"seed": 0, "trials": 2, "layers": [1, 2]},
    })  # fmt: skip
    edit(project, "tiny.compress.gate", {"max_drop": 1.0, "min_speedup": 1.0e6, "max_size_ratio": 10.0})
    with caplog.at_level(logging.INFO), pytest.raises(CompressionError, match="the nearest is"):
        run_stage(project, "tiny", "compress", tracker=NullTracker())
    assert "the search finds no further shape that is new and may be fast enough" in caplog.messages
    assert not list((project / "checkpoints").rglob("*.safetensors"))


@pytest.mark.long
def test_a_student_that_cannot_be_made_is_counted_and_a_space_without_effect_refused(project: Path) -> None:
    search = {"seed": 0, "trials": 4, "feed_forward": [0.25], "rank": [None, 1.0]}
    edit(project, "tiny.compress.students", {"distillation": DISTILLATION, "search": search})
    edit(project, "tiny.compress.candidates", [{"method": "int8"}])
    edit(project, "tiny.compress.gate", {"max_drop": 1.0, "min_speedup": 0.01, "max_size_ratio": 10.0})
    report = run_stage(project, "tiny", "compress", tracker=NullTracker())
    assert (report["num_students"], report["num_students_failed"]) == (1, 1)
    edit(project, "tiny.compress.students.search", search | {"layers": [1, 99]})
    with pytest.raises(InputError, match="99 layers"):
        run_stage(project, "tiny", "compress", tracker=NullTracker())
    for wrong, match in (
        ({"students": {"distillation": DISTILLATION, "search": {"seed": 0, "trials": 4}}}, "nothing to choose among"),
        ({"candidates": [{"method": "int8"}, {"method": "int8"}]}, "candidates has 'int8' twice"),
    ):
        for name, value in wrong.items():
            edit(project, f"tiny.compress.{name}", value)
        with pytest.raises(ParamsError, match=match):
            run_stage(project, "tiny", "compress", tracker=NullTracker())
        edit(project, "tiny.compress.students", None)


def test_interval_of_a_quality_lies_on_the_side_of_its_loss() -> None:
    one = candidate("int8", quality=0.85, drop=0.01, drop_ends=(-0.005, 0.03))
    assert interval_of(one, is_error=False) == pytest.approx((0.83, 0.865))
    assert interval_of(one, is_error=True) == pytest.approx((0.835, 0.87))
