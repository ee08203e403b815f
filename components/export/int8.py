"""ONNX graphs in int8, in which each row of an activation has a scale of its own. Equal weights give equal bytes.

A row (a token, in a model of texts) is scaled by its own largest value, as in ZeroQuant (Yao et al. 2022, token-wise
quantization) and LLM.int8() (Dettmers et al. 2022, vector-wise), and each output channel of a weight by its own, too.
The sums of int8 products are whole numbers, exact in any order. So what a row gives depends neither on the rows that
share its call nor on how they are padded, which scales over a whole tensor (`onnxruntime.quantization`) do not offer.

Embeddings have a scale per row of the table. What is neither a product of rows with a constant matrix nor a table of
embeddings (LSTM, convolutions) is left to onnxruntime's dynamic quantizer.

Legend: K numbers of a row, N outputs, V rows of a table, C numbers of an embedding.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import QuantType, quantize_dynamic

from components.export.exporter import quiet
from components.export.products import Product, is_table, lowest_values, product_of
from components.export.rewriting import MICROSOFT, Rewriting

LEFT_TO_ONNXRUNTIME = ("Attention", "Conv", "EmbedLayerNormalization", "LSTM", "MatMul")
TINY = 1e-30  # the scale of a row of zeros; a normal number in fp32
ABOVE_ZERO, ABOVE_GELU = 255, 223
"""The levels above zero of rows that are never negative, and of Gelu's, whose least value takes the other 32."""


def quantize(model: onnx.ModelProto, path: Path) -> None:
    """Write the model to `path` in int8: the products' weights and rows, and the embeddings."""
    onnx.save(quantized(model), path)


def write_int8(graphs: Mapping[str, onnx.ModelProto], *, predictor: Path, folder: Path) -> None:
    """Write into a new folder what a predictor of serving/ loads: preprocess's files for it, and the graphs in int8 by
    their file names."""
    shutil.copytree(predictor, folder)
    for name, graph in graphs.items():
        quantize(graph, folder / name)


def quantized(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model in int8."""
    model = quantized_by_onnxruntime(model)
    rewriting = Rewriting(model)
    rows = Rows(rewriting, lowest_values(model.graph))
    tables = {node.input[0] for node in model.graph.node if is_table(node, rewriting.constants)}
    for node in model.graph.node:
        if product := product_of(node, rewriting.constants):
            rows.multiply(product, tables)
        elif node.input and node.input[0] in tables and is_table(node, rewriting.constants):
            look_up(rewriting, node)
        else:
            rewriting.nodes.append(node)
    return rewriting.finish()


def quantized_by_onnxruntime(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with those of its operators in int8 that onnxruntime's quantizer alone knows."""
    constants = {constant.name: constant for constant in model.graph.initializer}
    known = [node.name for node in model.graph.node if product_of(node, constants)]
    left = [
        node
        for node in model.graph.node
        if node.op_type in LEFT_TO_ONNXRUNTIME
        and node.name not in known
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


class Rows:
    """The products of a graph in int8, and the rows that they share: a tensor is quantized once."""

    def __init__(self, rewriting: Rewriting, lowest: Mapping[str, float]) -> None:
        self.rewriting = rewriting
        self.lowest = lowest
        """The tensors that are never below a value."""
        self.quantized: dict[str, tuple[str, str, str]] = {}
        self.axis = rewriting.constant("int8/last_axis", np.array([-1]))
        self.one = rewriting.constant("int8/one", np.float32(1))

    def multiply(self, product: Product, tables: set[str]) -> None:
        """Emit a product in int8: rows (..., K) times a matrix (K, N), and what a Gemm adds."""
        emit, output = self.rewriting.emit, product.node.output[0]
        matrix = product.matrix(self.rewriting.constants)
        rows, scale, zero = self.quantize(product, width=len(matrix))
        weight, weight_scale = self.weight_of(product, matrix, tables)
        inputs = [rows, weight, self.one, weight_scale, *([zero] if zero else [])]
        whole = emit("MatMulIntegerToFloat", inputs, f"int8/{output}/sums", domain=MICROSOFT)
        if product.added is None or not product.beta:
            emit("Mul", [whole, scale], output)
            return
        added = product.added
        if product.beta != 1:
            beta = self.rewriting.constant(f"int8/{output}/beta", np.float32(product.beta))
            added = emit("Mul", [added, beta], f"int8/{output}/added")
        emit("Add", [emit("Mul", [whole, scale], f"int8/{output}/product"), added], output)

    def quantize(self, product: Product, *, width: int) -> tuple[str, str, str]:
        """Return the names of a product's rows in uint8, of their scales (..., 1), and of their zero point; '' is 0."""
        rows = product.rows
        if product.rows_transposed:
            rows = self.rewriting.emit("Transpose", [rows], f"int8/{product.node.output[0]}/turned_rows", perm=[1, 0])
        if rows not in self.quantized:
            self.quantized[rows] = self.quantize_rows(rows, self.lowest.get(product.rows), width=width)
        return self.quantized[rows]

    def quantize_rows(self, rows: str, lowest: float | None, *, width: int) -> tuple[str, str, str]:
        emit, constant = self.rewriting.emit, self.rewriting.constant
        levels = {None: 127, 0.0: ABOVE_ZERO}.get(lowest, ABOVE_GELU)
        below = 128 if lowest is None else 255 - levels
        least = TINY if not lowest else max(TINY, -lowest * levels / below)
        sizes = emit("Abs", [rows], f"int8/{rows}/sizes") if lowest is None else rows
        largest = emit("ReduceMax", [sizes, self.axis], f"int8/{rows}/largest")
        bounded = emit("Max", [largest, constant(f"int8/least_{levels}", np.float32(least))], f"int8/{rows}/bounded")
        step = constant(f"int8/step_{levels}", np.float32(1 / levels))
        scale = emit("Mul", [bounded, step], f"int8/{rows}/scale")
        inputs, zero = [rows, scale], ""
        if below:
            zero = constant(f"int8/zero_{below}", np.uint8(below))
            shape = emit("Shape", [scale], f"int8/{rows}/shape")
            inputs.append(emit("Expand", [zero, shape], f"int8/{rows}/zeros"))
        return emit("QuantizeLinear", inputs, f"int8/{rows}/quantized", axis=-1, block_size=width), scale, zero

    def weight_of(self, product: Product, matrix: NDArray[np.float32], tables: set[str]) -> tuple[str, str]:
        """Return the names of a product's weight in int8, (K, N), and of its scales (N,)."""
        rewriting = self.rewriting
        whole, scale = in_int8(matrix.T)  # (N, K), (N,)
        if product.alpha == 1 and (table := self.same_table(matrix, tables)):
            # The file holds once what is a table of embeddings and a product's weight. ONNX Runtime turns it round when
            # it loads the graph.
            rows, _ = table_in_int8(rewriting, table)
            turned = rewriting.emit("Transpose", [rows], f"int8/{product.node.output[0]}/weight", perm=[1, 0])
            return turned, rewriting.constant(f"int8/{table}/scales", scale)
        name = f"{product.weight}{'/turned' * product.transposed}{'' if product.alpha == 1 else f'/{product.alpha!r}'}"
        return rewriting.constant(f"int8/{name}", whole.T), rewriting.constant(f"int8/{name}/scales", scale)

    def same_table(self, matrix: NDArray[np.float32], tables: set[str]) -> str | None:
        """Return the table of embeddings (N, K) that a matrix (K, N) is, the other way round."""
        return next((name for name in sorted(tables) if np.array_equal(self.rewriting.array(name), matrix.T)), None)


def in_int8(matrix: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return a matrix in int8, and the scale of each of its rows."""
    scale = np.maximum(np.abs(matrix).max(axis=1), np.float32(TINY)) / np.float32(127)
    return np.round(matrix / scale[:, None]).astype(np.int8), scale


def table_in_int8(rewriting: Rewriting, table: str) -> tuple[str, str]:
    """Return the names of a table of embeddings in int8, (V, C), and of its scales (V, 1)."""
    whole, scale = in_int8(rewriting.array(table))
    return rewriting.constant(f"int8/{table}/rows", whole), rewriting.constant(
        f"int8/{table}/row_scales", scale[:, None]
    )


def look_up(rewriting: Rewriting, node: onnx.NodeProto) -> None:
    """Emit a lookup of rows of a table in int8, (...) → (..., C) in fp32."""
    table, scales = table_in_int8(rewriting, node.input[0])
    width, output = rewriting.array(table).shape[1], node.output[0]
    rows = rewriting.emit("Gather", [table, node.input[1]], f"int8/{output}/found")
    scale = rewriting.emit("Gather", [scales, node.input[1]], f"int8/{output}/found_scale")
    rewriting.emit("DequantizeLinear", [rows, scale], output, axis=-1, block_size=width)
