import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from components.compress.batching import batches, settle_batches
from serving.bundle import BundleError
from serving.tasks.array_classification.predictor import MODEL, SETTINGS, Predictor

SHAPE, LABELS = [6], ["a", "b", "c"]
ROWS = list(np.random.default_rng(0).normal(size=(300, *SHAPE)).astype(np.float32))
BY_ROW, BY_TENSOR = [1], [0, 1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    settings = {"labels": LABELS, "shape": SHAPE, "offset": 0, "scale": 1}
    (tmp_path / SETTINGS).write_text(json.dumps(settings), encoding="utf-8")
    return tmp_path


def write_model(folder: Path, *, largest_over: list[int]) -> None:
    """Write a model whose logits are the first values over the largest one: of their own row, or of all."""
    nodes = [
        helper.make_node("ReduceMax", ["values", "axes"], ["largest"], keepdims=1),
        helper.make_node("Div", ["values", "largest"], ["scaled"]),
        helper.make_node("Slice", ["scaled", "first", "last", "columns"], ["logits"]),
    ]
    numbers = {"axes": largest_over, "first": [0], "last": [len(LABELS)], "columns": [1]}
    graph = helper.make_graph(
        nodes, "graph",
        [helper.make_tensor_value_info("values", TensorProto.FLOAT, ["N", *SHAPE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", len(LABELS)])],
        [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in numbers.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), folder / MODEL)


def load(folder: Path, most: int) -> Predictor:
    return Predictor.load(folder, threads=1, batch_size=most)


def test_model_that_answers_each_row_by_itself_is_served_in_batches(folder: Path) -> None:
    write_model(folder, largest_over=BY_ROW)
    assert settle_batches(folder, ROWS, load=load, most=8) == 8
    predictor = Predictor.load(folder, threads=2)
    assert predictor.batch_size == 8
    alone = np.concatenate([predictor.predict([row]) for row in ROWS])
    assert predictor.predict(ROWS).tobytes() == alone.tobytes()


def test_model_whose_rows_change_each_other_is_served_row_by_row(folder: Path) -> None:
    write_model(folder, largest_over=BY_TENSOR)
    assert settle_batches(folder, ROWS, load=load, most=8) == 1
    assert Predictor.load(folder, threads=1).batch_size == 1


def test_folder_of_an_earlier_release_is_served_row_by_row(folder: Path) -> None:
    write_model(folder, largest_over=BY_ROW)
    assert Predictor.load(folder, threads=1).batch_size == 1


@pytest.mark.parametrize(
    "written", ['{"batch_size": 0}', '{"batch_size": "8"}', '{"batch_size": true}', "{}", "no JSON"]
)
def test_file_that_says_no_number_is_refused(folder: Path, written: str) -> None:
    write_model(folder, largest_over=BY_ROW)
    (folder / "batching.json").write_text(written, encoding="utf-8")
    with pytest.raises(BundleError, match=r"batching\.json cannot be loaded"):
        Predictor.load(folder, threads=1)


def test_every_row_is_tried_in_batches_of_every_size() -> None:
    found = list(batches(128, most=8))
    assert {len(batch) for batch in found} == set(range(1, 9))
    assert set(np.bincount(np.concatenate(found))) == {6}
    assert [batch.tolist() for batch in found] == [batch.tolist() for batch in batches(128, most=8)]
