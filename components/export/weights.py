"""The weights of an ONNX graph in int8: of products with a scale per output channel, of embeddings with one per row.

What the ways of holding a graph's numbers share. Operators with weights that are neither products nor embeddings (LSTM,
convolutions) are left to onnxruntime's dynamic quantizer.

Legend: K numbers of a row, N outputs, V rows of a table, C numbers of an embedding.
"""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import QuantType, quantize_dynamic

from components.export.exporter import quiet
from components.export.products import Product, Products, is_table, products_of
from components.export.rewriting import Rewriting

LEFT_TO_ONNXRUNTIME = ("Attention", "Conv", "EmbedLayerNormalization", "LSTM", "MatMul")
TINY = 1e-30  # the scale of a row of zeros; a normal number in fp32


class Weights:
    """The weights of a graph's products and embeddings, as the graph in the making holds them."""

    def __init__(self, rewriting: Rewriting, products: Products) -> None:
        self.rewriting = rewriting
        self.tables = {node.input[0] for node in rewriting.made.graph.node if is_table(node, rewriting.constants)}
        self.products = products

    def rows_of(self, product: Product) -> str:
        """Return the name of a product's rows (..., K)."""
        if not product.rows_transposed:
            return product.rows
        return self.rewriting.emit("Transpose", [product.rows], f"int8/{product.output}/turned_rows", perm=[1, 0])

    def in_int8(self, product: Product, *, factors: NDArray[np.float32] | None = None) -> tuple[str, str]:
        """Return the names of a product's weight in int8, (K, N), and of its scales (N,).

        `factors` (K,) are those by which the product's rows are multiplied, and the weight's rows divided.
        """
        rewriting = self.rewriting
        if factors is not None:
            whole, scale = in_int8((product.matrix / factors[:, None]).T)
            weight = rewriting.constant(f"int8/{product.rows}/{product.weight}", whole.T)
            return weight, rewriting.constant(f"int8/{product.rows}/{product.weight}/scales", scale)
        whole, scale = in_int8(product.matrix.T)  # (N, K), (N,)
        if table := self.same_table(product.matrix):
            # The file holds once what is a table of embeddings and a product's weight. ONNX Runtime turns it round when
            # it loads the graph.
            rows, _ = self.table_in_int8(table)
            turned = rewriting.emit("Transpose", [rows], f"int8/{product.output}/weight", perm=[1, 0])
            return turned, rewriting.constant(f"int8/{table}/scales", scale)
        weight = rewriting.constant(f"int8/{product.weight}", whole.T)
        return weight, rewriting.constant(f"int8/{product.weight}/scales", scale)

    def same_table(self, matrix: NDArray[np.float32]) -> str | None:
        """Return the table of embeddings (N, K) that a matrix (K, N) is, the other way round."""
        return next(
            (name for name in sorted(self.tables) if np.array_equal(self.rewriting.array(name), matrix.T)), None
        )

    def table_in_int8(self, table: str) -> tuple[str, str]:
        """Return the names of a table of embeddings in int8, (V, C), and of its scales (V, 1)."""
        whole, scale = in_int8(self.rewriting.array(table))
        rows = self.rewriting.constant(f"int8/{table}/rows", whole)
        return rows, self.rewriting.constant(f"int8/{table}/row_scales", scale[:, None])

    def bias_of(self, product: Product) -> str | None:
        """Return the name of a product's constant bias (N,)."""
        return None if product.bias is None else self.rewriting.constant(f"int8/{product.output}/bias", product.bias)

    def added_to(self, product: Product) -> str | None:
        """Return the name of what is added to a product."""
        if product.added is None:
            return self.bias_of(product)
        if product.beta == 1:
            return product.added
        beta = self.rewriting.constant(f"int8/{product.output}/beta", np.float32(product.beta))
        return self.rewriting.emit("Mul", [product.added, beta], f"int8/{product.output}/added")

    def look_up(self, node: onnx.NodeProto) -> None:
        """Emit a lookup of rows of a table in int8, (...) → (..., C) in fp32."""
        emit, output = self.rewriting.emit, node.output[0]
        table, scales = self.table_in_int8(node.input[0])
        rows = emit("Gather", [table, node.input[1]], f"int8/{output}/found")
        scale = emit("Gather", [scales, node.input[1]], f"int8/{output}/found_scale")
        rows = emit("Cast", [rows], f"int8/{output}/float", to=onnx.TensorProto.FLOAT)
        emit("Mul", [rows, scale], output)


class Way(Protocol):
    """A way of holding numbers."""

    def multiply(self, product: Product, /) -> None:
        """Emit a product, and what is added."""
        ...

    def look_up(self, node: onnx.NodeProto, /) -> None:
        """Emit a lookup of rows of a table of embeddings."""
        ...


def rewritten(model: onnx.ModelProto, make: Callable[[Rewriting, Weights], Way]) -> onnx.ModelProto:
    """Return the model with its products and embeddings as a way of holding numbers has them, and what else has weights
    as onnxruntime's dynamic quantizer has it."""
    model = quantized_by_onnxruntime(model)
    products = products_of(model.graph)
    rewriting = Rewriting(model)
    weights = Weights(rewriting, products)
    way = make(rewriting, weights)
    for node in model.graph.node:
        if product := products.found.get(node.output[0]):
            way.multiply(product)
        elif is_table(node, rewriting.constants):
            way.look_up(node)
        elif node.output[0] not in products.absorbed:
            rewriting.nodes.append(node)
    return rewriting.finish()


def quantized_by_onnxruntime(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with those of its operators in int8 that onnxruntime's quantizer alone knows."""
    constants = {constant.name: constant for constant in model.graph.initializer}
    products = products_of(model.graph)
    known = [node.name for node in model.graph.node if node.output[0] in products.found]
    left = [
        node
        for node in model.graph.node
        if node.op_type in LEFT_TO_ONNXRUNTIME
        and node.output[0] not in products.found
        and any(is_weight(constants.get(name)) for name in node.input)
    ]
    if not left:
        return model
    with quiet(), TemporaryDirectory(prefix="modelyard-int8-") as scratch:
        path = Path(scratch) / "model.onnx"
        quantize_dynamic(
            model, path,
            op_types_to_quantize=sorted({node.op_type for node in left}), nodes_to_exclude=known,
            per_channel=True, weight_type=QuantType.QInt8,
        )  # fmt: skip
        return onnx.load(path)


def is_weight(constant: onnx.TensorProto | None) -> bool:
    return constant is not None and constant.data_type == onnx.TensorProto.FLOAT and len(constant.dims) > 1


def in_int8(matrix: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return a matrix in int8, and the scale of each of its rows."""
    scale = np.maximum(np.abs(matrix).max(axis=1), np.float32(TINY)) / np.float32(127)
    return np.round(matrix / scale[:, None]).astype(np.int8), scale
