"""The linear layers of an ONNX graph: products of rows with a constant matrix, and tables of embeddings.

Legend: K numbers of a row, N outputs, V rows of a table, C numbers of an embedding.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

SAME_NUMBERS = frozenset({"Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity"})
LOWEST = {"Relu": 0.0, "Sigmoid": 0.0, "Softmax": 0.0, "Gelu": -0.1701}
"""What the outputs of some operators are never below."""
SMALL = 1024  # numbers: a table of fewer takes longer to read back from int8 than it saves


@dataclass(frozen=True)
class Product:
    """A MatMul or Gemm of rows (..., K) with a constant matrix."""

    node: onnx.NodeProto
    weight: str
    """The name of the constant."""
    rows_transposed: bool = False
    """Whether the node takes the rows as (K, ...)."""
    transposed: bool = False
    """Whether the constant is (N, K)."""
    alpha: float = 1.0
    """The factor of the product."""
    beta: float = 1.0
    """The factor of what a Gemm adds to the product."""

    @property
    def rows(self) -> str:
        return self.node.input[0]

    @property
    def added(self) -> str | None:
        """The name of what a Gemm adds."""
        return (self.node.input[2] or None) if len(self.node.input) > 2 else None

    def matrix(self, constants: Mapping[str, onnx.TensorProto]) -> NDArray[np.float32]:
        """Return the constant matrix (K, N), with the factor of the product in it."""
        weight = numpy_helper.to_array(constants[self.weight])
        return (weight.T if self.transposed else weight) * np.float32(self.alpha)


def product_of(node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]) -> Product | None:
    """Return a node as a product of rows with a constant matrix in fp32; None where it is anything else."""
    if node.op_type not in ("MatMul", "Gemm") or node.domain or not is_matrix(constants.get(node.input[1])):
        return None
    if node.input[0] in constants:
        return None
    given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    return Product(
        node=node,
        weight=node.input[1],
        rows_transposed=bool(given.get("transA", 0)),
        transposed=bool(given.get("transB", 0)),
        alpha=float(given.get("alpha", 1.0)),
        beta=float(given.get("beta", 1.0)),
    )


def is_table(node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]) -> bool:
    """Return whether a node looks up rows of a constant table (V, C) in fp32 that is worth compressing."""
    if node.op_type != "Gather" or any(attribute.name == "axis" and attribute.i for attribute in node.attribute):
        return False
    table = constants.get(node.input[0])
    return is_matrix(table) and table is not None and table.dims[0] * table.dims[1] >= SMALL


def is_matrix(constant: onnx.TensorProto | None) -> bool:
    return constant is not None and constant.data_type == onnx.TensorProto.FLOAT and len(constant.dims) == 2


def lowest_values(graph: onnx.GraphProto) -> dict[str, float]:
    """Return, of each tensor that is never below some value, that value: outputs of Relu, Gelu and the like, and the
    same numbers in another shape."""
    lowest: dict[str, float] = {}
    for node in graph.node:
        if node.op_type in LOWEST:
            lowest[node.output[0]] = LOWEST[node.op_type]
        elif node.op_type in SAME_NUMBERS and node.input[0] in lowest:
            lowest[node.output[0]] = lowest[node.input[0]]
    return lowest
