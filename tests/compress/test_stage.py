import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from components.__main__ import run_stage
from components.artifacts import files_of, read_json
from components.compress.measure import Speed, measure_speeds
from components.compress.stage import Candidate, choose
from components.errors import ArtifactError, CompressionError, ParamsError
from components.params import CompressionGate
from components.recipes import parse_recipe
from components.tracking import NullTracker
from serving.predictors.text_classification import Predictor
from tests.projects import edit, tiny_recipe
from tests.tiny_model import finish

GATE = CompressionGate(max_accuracy_drop=0.01, min_speedup=3.0, max_size_ratio=0.3)
FAST = Speed(rows_per_s=400.0, speedup=6.0, p50_ms=2.0, p99_ms=4.0)


@pytest.fixture
def project(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "project"))


def candidate(name: str, **changed: Any) -> Candidate:
    found: dict[str, Any] = {
        "name": name, "method": name, "sparsity": 0.0, "predictor": None, "folder": Path(), "accuracy": 0.86,
        "size_bytes": 1000, "size_ratio": 0.25,
    }  # fmt: skip
    return Candidate(**(found | changed))


def test_stage_writes_a_folder_that_the_predictor_loads(compressed: Path):
    folder = compressed / "artifacts/tiny/compress"
    report = read_json(folder / "report.json")
    assert sorted(path.name for path in (folder / "model").iterdir()) == [
        "model.onnx",
        "predictor.json",
        "tokenizer.json",
    ]
    predictions = pq.read_table(folder / "predictions.parquet")
    assert predictions.column_names == ["row", "label_id", "predicted_id", "scores"]
    test = pq.read_table(compressed / "artifacts/tiny/preprocess/test.parquet")
    assert predictions["row"] == test["row"]
    scores = Predictor.load(folder / "model", threads=1).predict(test["text"].to_pylist())
    np.testing.assert_array_equal(np.array(predictions["scores"].to_pylist(), np.float32), scores)
    assert report["accuracy"] == pytest.approx(np.mean(scores.argmax(axis=1) == test["label_id"].to_numpy()), abs=1e-6)
    assert report["accuracy"] > 0.8
    assert report["size_bytes"] == (folder / "model/model.onnx").stat().st_size
    assert report["agreement"] > 0.9


def test_measured_speeds_are_observations_only(compressed: Path):
    speeds = read_json(compressed / "observations/tiny/compress/speeds.json")
    assert sorted(speeds) == ["int8", "pruned_int8 0.3", "torch fp32", "torch fp32 in batches"]
    assert all(speed["rows_per_s"] > 0 for speed in speeds.values())
    assert (compressed / "observations/tiny/compress/candidates.png").stat().st_size > 5000
    report = read_json(compressed / "artifacts/tiny/compress/report.json")
    assert not [name for name in report if "rows_per_s" in name or name.endswith("_ms") or "speed" in name]


def test_same_inputs_give_the_same_bytes(compressed: Path, project: Path):
    run_stage(project, "tiny", "compress", tracker=NullTracker())
    assert files_of(project / "artifacts/tiny/compress") == files_of(compressed / "artifacts/tiny/compress")


def test_no_candidate_within_the_limits_names_figures_and_limits(project: Path):
    edit(project, "tiny.compress.gate", {"max_accuracy_drop": 0.2, "min_speedup": 1.0e6, "max_size_ratio": 0.01})
    with pytest.raises(CompressionError, match=r"int8: .* of torch fp32 \(min_speedup 1e\+06\)") as caught:
        run_stage(project, "tiny", "compress", tracker=NullTracker())
    assert "of the float model's bytes (max_size_ratio 0.01)" in str(caught.value)
    assert not (project / "artifacts/tiny/compress").exists()
    assert read_json(project / "observations/tiny/compress/report.json") == caught.value.report
    assert (project / "observations/tiny/compress/speeds.json").is_file()


def test_predictions_of_other_rows_are_refused(project: Path):
    evaluate = project / "artifacts/tiny/evaluate"
    table = pq.read_table(evaluate / "predictions.parquet")
    pq.write_table(table.slice(1), evaluate / "predictions.parquet")
    finish(evaluate, {})
    with pytest.raises(ArtifactError, match="run evaluate again"):
        run_stage(project, "tiny", "compress", tracker=NullTracker())


def test_choice_is_the_more_accurate_of_like_sizes_whatever_the_speeds():
    candidates = [candidate("int8", accuracy=0.855), candidate("pruned_int8", size_bytes=995)]
    speeds = {"int8": Speed(900.0, 9.0, 1.0, 2.0), "pruned_int8": FAST}
    assert choose(candidates, speeds, GATE, float_accuracy=0.86).name == "pruned_int8"


def test_choice_is_the_smallest_where_sizes_differ():
    candidates = [candidate("int8"), candidate("pruned_int8", accuracy=0.855, size_bytes=500)]
    assert choose(candidates, dict.fromkeys(("int8", "pruned_int8"), FAST), GATE, float_accuracy=0.86).size_bytes == 500


def test_choice_is_the_recipe_s_first_of_equals():
    candidates = [candidate("pruned_int8"), candidate("int8")]
    assert (
        choose(candidates, dict.fromkeys(("int8", "pruned_int8"), FAST), GATE, float_accuracy=0.86).name
        == "pruned_int8"
    )


@pytest.mark.parametrize(
    ("changed", "speed", "fault"),
    [
        ({"accuracy": 0.8499}, FAST, "0.0101 below the float model's 0.8600"),
        ({}, Speed(100.0, 2.99, 2.0, 4.0), "2.99 times the rows/s"),
        ({"size_ratio": 0.31}, FAST, "0.310 of the float model's bytes"),
    ],
)
def test_each_limit_is_a_limit(changed: dict[str, float], speed: Speed, fault: str):
    with pytest.raises(CompressionError, match=fault):
        choose([candidate("int8", **changed)], {"int8": speed}, GATE, float_accuracy=0.86)


def test_figures_at_the_limit_pass():
    at_limit = candidate("int8", accuracy=0.85, size_ratio=0.3)
    assert choose([at_limit], {"int8": Speed(1.0, 3.0, 1.0, 1.0)}, GATE, float_accuracy=0.86) is at_limit


def test_speedup_is_over_the_reference(compressed: Path):
    predictor = Predictor.load(compressed / "artifacts/tiny/compress/model", threads=1)
    speeds = measure_speeds({"one": predictor}, ["dull story"] * 3, reference="one", num_latency_rows=20)
    assert speeds["one"].speedup == 1.0
    assert 0 < speeds["one"].p50_ms <= speeds["one"].p99_ms


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        (("candidates", 1, "sparsity"), 1.0, "compress.candidates.1.sparsity"),
        (("candidates", 0, "method"), "int4", "compress.candidates.0"),
        (("gate", "min_speedup"), 0, "compress.gate.min_speedup"),
        (("threads",), 0, "compress.threads"),
    ],
)
def test_values_out_of_range_are_refused(path: tuple[Any, ...], value: object, fault: str):
    recipe: Any = tiny_recipe()
    node = recipe["compress"]
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    with pytest.raises(ParamsError, match=fault):
        parse_recipe("tiny", recipe)
