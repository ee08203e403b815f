from pathlib import Path

import numpy as np
import onnx
from numpy.testing import assert_array_equal
from onnx.helper import make_node as node

from components.export.static import Feeds, quantize_static
from tests.export.test_int8 import Array, model_of, run

RANDOM = np.random.default_rng(1)
WEIGHT = RANDOM.normal(size=(64, 48)).astype(np.float32)
BIAS = RANDOM.normal(size=48).astype(np.float32)


def rows(number: int, *, outlier: float = 1.0) -> Array:
    """Rows in which one channel may be larger than the others."""
    found = RANDOM.normal(size=(number, 64)).astype(np.float32)
    found[:, 5] *= outlier
    return found


def model() -> onnx.ModelProto:
    return model_of(node("MatMul", ["x", "w"], ["m"]), node("Add", ["m", "b"], ["y"]), w=WEIGHT, b=BIAS)


def error(folder: Path, examples: Array, asked: Array, smoothing: float | None) -> float:
    feeds: list[Feeds] = [{"x": examples}]
    quantize_static(model(), folder / "static.onnx", feeds=feeds, smoothing=smoothing)
    exact = asked @ WEIGHT + BIAS
    return float(np.abs(run(folder / "static.onnx", x=asked) - exact).mean() / exact.std())


def test_bias_and_scales_are_in_one_operator(tmp_path: Path) -> None:
    assert error(tmp_path, rows(300), rows(300), None) < 0.02
    operators = [each.op_type for each in onnx.load(tmp_path / "static.onnx").graph.node]
    assert operators == ["QuantizeLinear", "MatMulIntegerToFloat"]


def test_smoothing_takes_outliers_of_a_channel_out_of_the_rows(tmp_path: Path) -> None:
    examples, asked = rows(300, outlier=50), rows(300, outlier=50)
    assert error(tmp_path, examples, asked, 0.5) < 0.7 * error(tmp_path, examples, asked, None)


def test_table_of_embeddings_is_held_once_and_not_smoothed(tmp_path: Path) -> None:
    table = WEIGHT.T.copy()  # (48, 64)
    whole = model_of(
        node("MatMul", ["x", "w"], ["m"]), node("ArgMax", ["m"], ["i"], axis=-1, keepdims=0),
        node("Gather", ["t", "i"], ["y"]), w=WEIGHT, t=table,
    )  # fmt: skip
    asked = rows(100, outlier=50)
    quantize_static(whole, tmp_path / "static.onnx", feeds=[{"x": asked}], smoothing=0.5)
    held = onnx.load(tmp_path / "static.onnx").graph.initializer
    assert [each.name for each in held if np.prod(each.dims) > 1000] == ["int8/t/rows"]
    agreed = (np.abs(run(tmp_path / "static.onnx", x=asked) - run(whole, x=asked)) < 0.1).all(axis=-1)
    assert agreed.mean() > 0.7


def test_channel_that_is_zero_in_the_examples_may_hold_something_later(tmp_path: Path) -> None:
    examples, asked = rows(300, outlier=50), rows(300, outlier=50)
    examples[:, 9] = 0
    assert error(tmp_path, examples, asked, 0.5) < 0.1


def test_a_row_s_answer_is_the_same_bits_in_any_batch(tmp_path: Path) -> None:
    error(tmp_path, rows(100, outlier=20), rows(5), 0.5)
    asked = rows(33, outlier=20)
    alone = np.concatenate([run(tmp_path / "static.onnx", x=asked[place : place + 1]) for place in range(33)])
    assert_array_equal(run(tmp_path / "static.onnx", x=asked), alone)
