from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from onnx import helper, numpy_helper
from onnx.helper import make_node as node
from torch import nn

from components.export import export_graph, quantize
from components.models.storage import load
from components.tasks.text_classification.judging.export import export_classifier

RANDOM = np.random.default_rng(0)
Array = np.ndarray[Any, Any]


def numbers(*shape: int) -> Array:
    return RANDOM.normal(size=shape).astype(np.float32)


def model_of(*nodes: onnx.NodeProto, x: tuple[int | str, ...] = ("B", 64), **constants: Array) -> onnx.ModelProto:
    """A model from x to y."""
    takes = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, x)
    gives = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
    held = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph([*nodes], "graph", [takes], [gives], held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def run(model: onnx.ModelProto | Path, **feeds: Array) -> Array:
    content = model.read_bytes() if isinstance(model, Path) else model.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, feeds)[0])


def in_int8(model: onnx.ModelProto, folder: Path) -> Path:
    quantize(model, folder / "int8.onnx")
    return folder / "int8.onnx"


def operators(path: Path) -> set[str]:
    return {node.op_type for node in onnx.load(path).graph.node}


def rounded(rows: Array, weight: Array) -> Array:
    """The product of rows and a weight (K, N) in int8, by hand."""
    row_scale = np.abs(rows).max(axis=-1, keepdims=True) / 127
    scale = np.abs(weight).max(axis=0) / 127
    return np.rint(rows / row_scale) @ np.rint(weight / scale) * scale * row_scale


def test_product_is_that_of_rounded_rows_and_columns(tmp_path: Path) -> None:
    weight, x = numbers(64, 48), numbers(5, 7, 64) * RANDOM.uniform(0.01, 100, (5, 7, 1)).astype(np.float32)
    x[2, 3] = 0
    path = in_int8(model_of(node("MatMul", ["x", "w"], ["y"]), x=("B", "T", 64), w=weight), tmp_path)
    with np.errstate(invalid="ignore"):
        expected = np.nan_to_num(rounded(x.astype(np.float64), weight.astype(np.float64)))
    found = run(path, x=x)
    assert_allclose(found, expected, rtol=1e-3, atol=2e-2 * np.abs(expected).max(axis=-1, keepdims=True).max() / 100)
    assert not found[2, 3].any()
    error = np.abs(found - x @ weight) / (np.linalg.norm(x, axis=-1, keepdims=True) + 1e-9)
    assert error.max() < 0.1


GEMMS: Mapping[str, tuple[dict[str, Any], tuple[int, ...], tuple[int, ...] | None]] = {
    "plain": ({}, (64, 16), (16,)),
    "transB": ({"transB": 1}, (16, 64), (16,)),
    "factors": ({"alpha": 0.5, "beta": -2.0}, (64, 16), (16,)),
    "without what it adds": ({"transB": 1, "alpha": 3.0}, (16, 64), None),
    "one number added": ({}, (64, 16), (1,)),
    "a row added": ({"beta": 0.25}, (64, 16), (1, 16)),
    "a column added": ({}, (64, 16), (6, 1)),
    "transA": ({"transA": 1}, (64, 16), (16,)),
}


@pytest.mark.parametrize("kind", GEMMS)
def test_gemm_of_each_kind_is_near_the_float_one(kind: str, tmp_path: Path) -> None:
    attributes, shape, added = GEMMS[kind]
    constants = {"w": numbers(*shape)} | ({} if added is None else {"c": numbers(*added) * 10})
    x = numbers(64, 6) if "transA" in attributes else numbers(6, 64)
    model = model_of(node("Gemm", ["x", *constants], ["y"], **attributes), x=x.shape, **constants)
    path = in_int8(model, tmp_path)
    assert "MatMulIntegerToFloat" in operators(path)
    expected = run(model, x=x)
    assert np.abs(run(path, x=x) - expected).mean() < 0.02 * expected.std()


def test_one_weight_in_two_gemms_is_taken_as_each_takes_it(tmp_path: Path) -> None:
    weight = numbers(64, 64)
    model = model_of(
        node("Gemm", ["x", "w"], ["a"]), node("Gemm", ["a", "w"], ["b"], transB=1),
        node("Gemm", ["b", "w"], ["y"], alpha=0.1), w=weight,
    )  # fmt: skip
    x = numbers(6, 64)
    expected = run(model, x=x)
    assert np.abs(run(in_int8(model, tmp_path), x=x) - expected).mean() < 0.05 * expected.std()


@pytest.mark.parametrize("operator", ["Relu", "Gelu", "Sigmoid", "LeakyRelu"])
def test_rows_that_are_never_far_below_zero_take_finer_steps(operator: str, tmp_path: Path) -> None:
    weight, x = numbers(64, 48), numbers(200, 64) * RANDOM.uniform(0.1, 4, (200, 1)).astype(np.float32)
    model = model_of(node(operator, ["x"], ["a"]), node("MatMul", ["a", "w"], ["y"]), w=weight)
    path = in_int8(model, tmp_path)
    expected = run(model, x=x)
    error = np.abs(run(path, x=x) - expected).mean() / expected.std()
    rows = run(model_of(node(operator, ["x"], ["y"])), x=x)
    plain = np.abs(rounded(rows, weight) - expected).mean() / expected.std()
    assert error < (1.02 if operator == "LeakyRelu" else 0.95) * plain


def test_table_that_is_a_product_s_weight_too_is_held_once(tmp_path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        table = nn.Embedding(500, 64)

    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = table
            self.register_buffer("output", table.weight.detach().T.contiguous())

        def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
            return self.table(input_ids) @ self.output

    model = export_graph(
        Tied().eval(), {"input_ids": torch.ones((2, 4), dtype=torch.int64)}, outputs=["y"],
        dynamic={"input_ids": {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}},
    )  # fmt: skip
    path = in_int8(model, tmp_path)
    assert path.stat().st_size < 1.2 * table.weight.numel()
    ids = RANDOM.integers(0, 500, (3, 5))
    expected = run(model, input_ids=ids)
    found = run(path, input_ids=ids)
    assert_array_equal(found.argmax(axis=-1), ids)
    assert np.abs(found - expected).mean() < 0.02 * expected.std()


def test_what_it_does_not_know_is_left_to_onnxruntime(tmp_path: Path) -> None:
    model = model_of(
        node("Conv", ["x", "k"], ["a"], name="conv"), node("Flatten", ["a"], ["b"], name="flat"),
        node("Gemm", ["b", "w"], ["y"], name="head"),
        x=("B", 3, 8, 8), k=numbers(16, 3, 3, 3), w=numbers(16 * 36, 10),
    )  # fmt: skip
    path = in_int8(model, tmp_path)
    assert {"ConvInteger", "MatMulIntegerToFloat"} <= operators(path)
    x = numbers(4, 3, 8, 8)
    expected = run(model, x=x)
    assert np.abs(run(path, x=x) - expected).mean() < 0.05 * expected.std()


def test_branches_keep_the_constants_that_they_take(tmp_path: Path) -> None:
    def branch(operator: str) -> onnx.GraphProto:
        gives = helper.make_tensor_value_info(f"{operator}_out", onnx.TensorProto.FLOAT, None)
        return helper.make_graph([node(operator, ["m", "c"], [gives.name])], operator, [], [gives])

    model = model_of(
        node("MatMul", ["x", "w"], ["m"]), node("ReduceSum", ["m"], ["s"], keepdims=0),
        node("Greater", ["s", "z"], ["p"]),
        node("If", ["p"], ["y"], then_branch=branch("Add"), else_branch=branch("Mul")),
        w=numbers(64, 16), z=np.array(0, np.float32), c=numbers(16),
    )  # fmt: skip
    x = numbers(3, 64)
    expected = run(model, x=x)
    assert np.abs(run(in_int8(model, tmp_path), x=x) - expected).mean() < 0.02 * expected.std()


@pytest.fixture(scope="module")
def encoder(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return in_int8(export_classifier(load(trained / "artifacts/tiny/finetune/model")), tmp_path_factory.mktemp("int8"))


def padded(rows: list[list[int]], length: int) -> dict[str, Array]:
    ids = np.zeros((len(rows), length), np.int64)
    mask = np.zeros_like(ids)
    for place, row in enumerate(rows):
        ids[place, : len(row)], mask[place, : len(row)] = row, 1
    return {"input_ids": ids, "attention_mask": mask}


def test_a_text_s_answer_is_the_same_bits_in_any_batch_and_however_padded(encoder: Path) -> None:
    rows = [RANDOM.integers(5, 100, length).tolist() for length in RANDOM.integers(2, 30, 40)]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(encoder, options, providers=["CPUExecutionProvider"])

    def answers(rows: list[list[int]], length: int) -> Array:
        return np.asarray(session.run(None, padded(rows, length))[0])

    alone = np.concatenate([answers([row], len(row)) for row in rows])
    assert len(np.unique(alone, axis=0)) == len(rows)
    for size in (3, 8, 40):
        for start in range(0, len(rows), size):
            some = rows[start : start + size]
            for more in (0, 1, 2):
                assert_array_equal(answers(some, max(map(len, some)) + more), alone[start : start + size])


MAKERS: Mapping[str, Callable[[], nn.Module]] = {
    "mlp": lambda: nn.Sequential(nn.Linear(64, 32), nn.GELU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 10)),
    "generator": lambda: nn.Sequential(nn.Linear(64, 32), nn.LeakyReLU(0.2), nn.Linear(32, 50), nn.Tanh()),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_a_row_s_answer_is_the_same_bits_in_any_batch(kind: str, tmp_path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = MAKERS[kind]().eval()
    dynamic = {"x": {0: torch.export.Dim.DYNAMIC}}
    path = in_int8(export_graph(model, {"x": torch.zeros((2, 64))}, outputs=["y"], dynamic=dynamic), tmp_path)
    x = numbers(37, 64) * RANDOM.uniform(0.01, 10, (37, 1)).astype(np.float32)
    together = run(path, x=x)
    assert_array_equal(together, np.concatenate([run(path, x=x[place : place + 1]) for place in range(len(x))]))
    assert_array_equal(together, np.concatenate([run(path, x=x[:5]), run(path, x=x[5:])]))
    with torch.inference_mode():
        expected = model(torch.from_numpy(x)).numpy()
    assert np.abs(together - expected).mean() < 0.02 * expected.std()


def test_equal_graphs_give_equal_bytes(tmp_path: Path) -> None:
    weight, table = numbers(64, 48), numbers(100, 64)
    nodes = (
        node("Gelu", ["x"], ["a"]), node("MatMul", ["a", "w"], ["b"]), node("Gemm", ["b", "v"], ["y"], transB=1)
    )  # fmt: skip
    contents = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        model = model_of(*nodes, w=weight, v=table[:, :48].copy())
        before = model.SerializeToString()
        contents.append(in_int8(model, tmp_path / name).read_bytes())
        assert model.SerializeToString() == before
    assert contents[0] == contents[1]
