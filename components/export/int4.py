"""ONNX graphs whose weights have 4 bits, in blocks that share a scale. Equal weights give equal bytes.

Each block of a matrix's column, or of an embedding, has a scale and a zero point of its own, as in group-wise
quantization for language models (Shen et al. 2020; Frantar et al. 2023). Rows of activations are rounded to 8 bits when
the model answers, block by block (ONNX Runtime's MatMulNBits at accuracy level 4). The file is about half of that in
int8. It is the faster of the two where a call has one row, since that waits for memory, as a language model does that
writes; with many rows int8 is faster.

A table of embeddings that is a product's weight as well is in the file once. Operators with weights that are neither
(LSTM, convolutions) stay in int8.

Legend: K numbers of a row, N outputs, V rows of a table, C numbers of an embedding, G blocks.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, DefaultWeightOnlyQuantizer

from components.export.products import Product
from components.export.rewriting import MICROSOFT, Rewriting
from components.export.weights import Weights, rewritten

BITS = 4
INT8_COMPUTE = 4
"""The accuracy level of MatMulNBits at which rows are rounded to 8 bits, and products are those of whole numbers."""


def quantize_int4(model: onnx.ModelProto, path: Path, *, block_size: int) -> None:
    """Write the model to `path` with 4-bit weights and embeddings, in blocks of `block_size` (16, 32, 64, ... 256)."""

    def make(rewriting: Rewriting, weights: Weights) -> "Blocks":
        return Blocks(rewriting, weights, block_size)

    onnx.save(rewritten(model, make), path)


@dataclass(frozen=True)
class Blocks:
    """The products and the embeddings of a graph in 4 bits."""

    rewriting: Rewriting
    weights: Weights
    block_size: int

    def multiply(self, product: Product) -> None:
        """Emit a product of rows (..., K) with a matrix (K, N) in 4 bits, and what is added."""
        K, N = product.matrix.shape
        rows = self.weights.rows_of(product)
        table = self.weights.same_table(product.matrix)
        name = product.weight if table is None or K % self.block_size else table
        inputs = [rows, *self.held(name, product.matrix)]
        if bias := self.weights.bias_of(product):
            inputs += ["", bias]
        output = product.output if product.added is None else f"int4/{product.output}/product"
        self.rewriting.emit(
            "MatMulNBits", inputs, output, domain=MICROSOFT,
            K=K, N=N, bits=BITS, block_size=self.block_size, accuracy_level=INT8_COMPUTE,
        )  # fmt: skip
        if product.added is not None:
            self.rewriting.emit("Add", [output, self.weights.added_to(product) or ""], product.output)

    def look_up(self, node: onnx.NodeProto) -> None:
        """Emit a lookup of rows of a table (V, C) in 4 bits, or in int8 where the blocks would not fill its rows."""
        table = self.rewriting.array(node.input[0])
        if table.shape[1] % self.block_size:
            self.weights.look_up(node)
            return
        shape = self.rewriting.constant(f"int4/{node.input[0]}/shape", np.array([len(table), -1]))
        blocks, scales, zeros = self.held(node.input[0], table.T)
        flat = self.rewriting.emit("Reshape", [blocks, shape], f"int4/{node.output[0]}/blocks")
        self.rewriting.emit(
            "GatherBlockQuantized", [flat, node.input[1], scales, zeros], node.output[0], domain=MICROSOFT,
            bits=BITS, block_size=self.block_size, gather_axis=0, quantize_axis=1,
        )  # fmt: skip

    def held(self, name: str, matrix: NDArray[np.float32]) -> list[str]:
        """Return the names of a matrix (K, N) in 4 bits: of its blocks (N, G, bytes), scales and zero points."""
        constant = self.rewriting.constant
        blocks, scales, zeros = in_int4(matrix, self.block_size)
        return [
            constant(f"int4/{name}", blocks), constant(f"int4/{name}/scales", scales),
            constant(f"int4/{name}/zeros", zeros),
        ]  # fmt: skip


def in_int4(
    matrix: NDArray[np.float32], block_size: int
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.uint8]]:
    """Return a matrix (K, N) in 4 bits, two numbers to a byte: blocks (N, G, bytes), and the scales (N, G) and zero
    points (N, ceil(G / 2)) of the blocks."""
    config = DefaultWeightOnlyQuantConfig(block_size=block_size, is_symmetric=False, bits=BITS)
    blocks, scales, zeros = DefaultWeightOnlyQuantizer(config).qbits_block_quant(np.ascontiguousarray(matrix))
    return blocks, scales.reshape(len(blocks), -1), zeros.reshape(len(blocks), -1)
