"""ONNX graphs in int8, in which each row of an activation has a scale of its own. Equal weights give equal bytes.

A row (a token, in a model of texts) is scaled by its own largest value, as in ZeroQuant (Yao et al. 2022, token-wise
quantization) and LLM.int8() (Dettmers et al. 2022, vector-wise), and each output channel of a weight by its own, too.
The sums of int8 products are whole numbers, exact in any order. So what a row gives depends neither on the rows that
share its call nor on how they are padded, which scales over a whole tensor (`onnxruntime.quantization`) do not offer.

Embeddings have a scale per row of the table. What is neither a product of rows with a constant matrix nor a table of
embeddings (LSTM, convolutions) is left to onnxruntime's dynamic quantizer, which scales whole tensors.

Legend: K numbers of a row, N outputs, V rows of a table, C numbers of an embedding.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx

from components.export.products import Product, lowest_values
from components.export.rewriting import MICROSOFT, Rewriting
from components.export.weights import TINY, Weights, rewritten

ABOVE_ZERO, ABOVE_GELU = 255, 223
"""The levels above zero of rows that are never negative, and of Gelu's, whose least value takes the other 32."""


def quantize(model: onnx.ModelProto, path: Path) -> None:
    """Write the model to `path` in int8: the products' weights and rows, and the embeddings."""
    onnx.save(quantized(model), path)


def quantized(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model in int8."""
    return rewritten(model, lambda rewriting, weights: Rows(rewriting, weights, lowest_values(model.graph)))


class Rows:
    """The products of a graph in int8, and the rows that they share: a tensor is quantized once."""

    def __init__(self, rewriting: Rewriting, weights: Weights, lowest: Mapping[str, float]) -> None:
        self.rewriting, self.weights = rewriting, weights
        self.lowest = lowest
        """The tensors that are never below a value."""
        self.look_up = weights.look_up
        self.quantized: dict[str, tuple[str, str, str]] = {}
        self.axis = rewriting.constant("int8/last_axis", np.array([-1]))
        self.one = rewriting.constant("int8/one", np.float32(1))

    def multiply(self, product: Product) -> None:
        """Emit a product in int8: rows (..., K) times a matrix (K, N), and what is added."""
        emit, output = self.rewriting.emit, product.output
        rows = self.weights.rows_of(product)
        if rows not in self.quantized:
            self.quantized[rows] = self.quantize(rows, self.lowest.get(product.rows), width=len(product.matrix))
        rows, scale, zero = self.quantized[rows]
        weight, weight_scale = self.weights.in_int8(product)
        inputs = [rows, weight, self.one, weight_scale, *([zero] if zero else [])]
        sums = emit("MatMulIntegerToFloat", inputs, f"int8/{output}/sums", domain=MICROSOFT)
        added = self.weights.added_to(product)
        product_output = output if added is None else f"int8/{output}/product"
        emit("Mul", [sums, scale], product_output)
        if added is not None:
            emit("Add", [product_output, added], output)

    def quantize(self, rows: str, lowest: float | None, *, width: int) -> tuple[str, str, str]:
        """Return the names of rows in uint8, of their scales (..., 1), and of their zero point; '' is 0."""
        emit, constant = self.rewriting.emit, self.rewriting.constant
        levels = {None: 127, 0.0: ABOVE_ZERO}.get(lowest, ABOVE_GELU)
        below = 128 if lowest is None else 255 - levels
        least = TINY if not lowest else max(TINY, -lowest * levels / below)
        sizes = emit("Abs", [rows], f"int8/{rows}/sizes") if lowest is None else rows
        largest = emit("ReduceMax", [sizes, self.axis], f"int8/{rows}/largest")
        bound = constant(f"int8/least_{levels}", np.float32(least))
        bounded = emit("Max", [largest, bound], f"int8/{rows}/bounded")
        step = constant(f"int8/step_{levels}", np.float32(1 / levels))
        scale = emit("Mul", [bounded, step], f"int8/{rows}/scale")
        inputs, zero = [rows, scale], ""
        if below:
            zero = constant(f"int8/zero_{below}", np.uint8(below))
            shape = emit("Shape", [scale], f"int8/{rows}/shape")
            inputs.append(emit("Expand", [zero, shape], f"int8/{rows}/zeros"))
        return emit("QuantizeLinear", inputs, f"int8/{rows}/quantized", axis=-1, block_size=width), scale, zero
