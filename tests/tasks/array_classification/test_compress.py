import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pyarrow.parquet as pq
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from components.__main__ import run_stage
from components.models.storage import load
from components.plumbing.artifacts import files_of, read_json
from components.tasks.array_classification.compress import export_classifier, shortest
from components.tracking.tracker import NullTracker
from serving.tasks.array_classification.predictor import INPUT, Predictor, load_settings


def test_stage_writes_a_folder_that_the_predictor_loads(compressed_arrays: Path) -> None:
    folder = compressed_arrays / "artifacts/tiny/compress"
    report = read_json(folder / "report.json")
    assert sorted(path.name for path in (folder / "model").iterdir()) == [
        "batching.json",
        "model.onnx",
        "predictor.json",
    ]
    assert report["metric"] == "accuracy"
    assert report["quality"] > 0.9
    assert report["agreement"] > 0.9
    test = pq.read_table(compressed_arrays / "artifacts/tiny/preprocess/test.parquet")
    scores = Predictor.load(folder / "model", threads=1).predict(test["values"].to_pylist())
    predictions = pq.read_table(folder / "results/predictions.parquet")
    assert_array_equal(np.array(predictions["scores"].to_pylist(), np.float32), scores)
    golden = read_json(folder / "results/golden.json")
    assert len(golden) == 60
    for number, one in enumerate(golden):
        assert_array_equal(np.float32(one["request"]["arrays"]), np.float32([test["values"][number].as_py()]))
        assert set(one["answer"][0]["scores"]) == {"left", "right", "middle"}


def test_same_inputs_give_the_same_bytes(trained_arrays: Path, compressed_arrays: Path, tmp_path: Path) -> None:
    project = Path(shutil.copytree(trained_arrays, tmp_path / "project"))
    run_stage(project, "tiny", "compress", tracker=NullTracker())
    assert files_of(project / "artifacts/tiny/compress") == files_of(compressed_arrays / "artifacts/tiny/compress")


@pytest.mark.parametrize("num_rows", [1, 2, 7])
def test_exported_model_gives_torch_s_logits_for_any_number_of_rows(trained_arrays: Path, num_rows: int) -> None:
    model = load(trained_arrays / "artifacts/tiny/finetune/model")
    settings = load_settings(trained_arrays / "artifacts/tiny/preprocess/predictor/predictor.json")
    exported = export_classifier(model, settings)
    assert b".py" not in exported.SerializeToString()
    values = 255 * torch.rand((num_rows, 54), generator=torch.Generator().manual_seed(0))
    session = onnxruntime.InferenceSession(exported.SerializeToString(), providers=["CPUExecutionProvider"])
    logits = np.asarray(session.run(["logits"], {INPUT: values.numpy()})[0])
    with torch.inference_mode():
        assert_allclose(logits, model(torch.from_numpy(settings.scaled(values.numpy()))), atol=1e-5)


def test_golden_numbers_are_short_and_exact() -> None:
    values = np.float32([0.1, 1 / 3, 255, -1e-20])
    assert shortest(values)[:3] == [0.1, 0.33333334, 255.0]
    assert_array_equal(np.float32(shortest(values)), values)
