"""The linear layers of an ONNX graph: products of rows with a constant matrix, and tables of embeddings.

Legend: K numbers of a row, N outputs, V rows of a table, C numbers of an embedding.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from components.export.rewriting import used_by

SAME_NUMBERS = frozenset({"Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity"})
LOWEST = {"Relu": 0.0, "Sigmoid": 0.0, "Softmax": 0.0, "Gelu": -0.1701}
"""What the outputs of some operators are never below."""
SMALL = 1024  # numbers: a table of fewer takes longer to read back from int8 than it saves


@dataclass(frozen=True)
class Product:
    """A MatMul or Gemm of rows (..., K) with a constant matrix, and the bias that is added to it."""

    node: onnx.NodeProto
    matrix: NDArray[np.float32]
    """The constant (K, N), with the factor of a Gemm in it."""
    weight: str
    """A name for the constant as it is taken here."""
    output: str
    """The name of the sum, or of the product where nothing constant is added."""
    bias: NDArray[np.float32] | None = None
    """The constant (N,) that is added, with the factor of a Gemm in it."""
    added: str | None = None
    """The name of what a Gemm adds, where that is no constant (N,)."""
    beta: float = 1.0
    """The factor of what a Gemm adds, where that is no constant (N,)."""
    rows_transposed: bool = False
    """Whether the node takes the rows as (K, ...)."""

    @property
    def rows(self) -> str:
        return self.node.input[0]


@dataclass(frozen=True)
class Products:
    """The products of rows with a constant matrix in a graph."""

    found: Mapping[str, Product]
    """The products by the names of their nodes' outputs."""
    absorbed: frozenset[str]
    """The outputs of the nodes that do nothing but add a product's bias."""


def products_of(graph: onnx.GraphProto) -> Products:
    """Return the products of rows with a constant matrix in fp32."""
    constants = {constant.name: constant for constant in graph.initializer}
    takers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in used_by(node):
            takers.setdefault(name, []).append(node)
    for output in graph.output:
        takers.setdefault(output.name, []).append(onnx.NodeProto())
    found: dict[str, Product] = {}
    absorbed: set[str] = set()
    for node in graph.node:
        product = product_of(node, constants)
        if product is None:
            continue
        after = takers.get(product.output, [])
        if product.bias is None and product.added is None and len(after) == 1 and after[0].op_type == "Add":
            bias = bias_of(next((name for name in after[0].input if name in constants), ""), product, constants)
            if bias is not None:
                absorbed.add(after[0].output[0])
                product = replace(product, bias=bias, output=after[0].output[0])
        found[node.output[0]] = product
    return Products(found, frozenset(absorbed))


def product_of(node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]) -> Product | None:
    """Return a node as a product of rows with a constant matrix in fp32; None where it is anything else."""
    if node.op_type not in ("MatMul", "Gemm") or node.domain or node.input[0] in constants:
        return None
    if not is_matrix(constants.get(node.input[1])):
        return None
    given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    alpha, beta, transposed = given.get("alpha", 1.0), given.get("beta", 1.0), bool(given.get("transB", 0))
    matrix = numpy_helper.to_array(constants[node.input[1]])
    name = f"{node.input[1]}{'/turned' * transposed}{'' if alpha == 1 else f'/{alpha!r}'}"
    product = Product(
        node=node,
        matrix=(matrix.T if transposed else matrix) * np.float32(alpha),
        weight=name,
        output=node.output[0],
        rows_transposed=bool(given.get("transA", 0)),
    )
    added = node.input[2] if len(node.input) > 2 and beta else ""
    bias = bias_of(added, product, constants)
    if bias is not None:
        return replace(product, bias=bias * np.float32(beta))
    return replace(product, added=added, beta=beta) if added else product


def bias_of(name: str, product: Product, constants: Mapping[str, onnx.TensorProto]) -> NDArray[np.float32] | None:
    """Return a constant as the bias (N,) of a product; None where it is none, or another for each row."""
    if name not in constants:
        return None
    value, width = numpy_helper.to_array(constants[name]), product.matrix.shape[1]
    if value.size not in (1, width) or value.shape not in ((), (1,), (1, 1), (width,), (1, width)):
        return None
    if value.ndim == 2 and product.node.op_type != "Gemm":
        return None  # it may give the product one axis more
    return np.broadcast_to(value.reshape(-1), (width,))


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
