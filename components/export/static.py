"""ONNX graphs in int8 with fixed scales for activations, found on example rows. Equal weights and rows, equal bytes.

A fixed scale costs nothing when the model answers, and it depends on no batch; but what exceeds the range is cut.
Outliers in a few channels of the rows would waste most of the range, so these channels are divided by factors by which
the weight's rows are multiplied (SmoothQuant, Xiao et al. 2023).

The range of each tensor, and whether smoothing is worth its multiplication, are chosen by the error of the products on
the example rows, as in the search for a clipping range by mean squared error (Banner et al. 2019).

Legend: S sampled rows, K numbers of a row, N outputs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper

from components.export.products import Product, products_of
from components.export.rewriting import MICROSOFT, Rewriting
from components.export.weights import TINY, Weights, in_int8, rewritten

Feeds = Mapping[str, NDArray[Any]]
"""The inputs of one call of a graph, by their names."""

MAX_SAMPLED = 512  # rows of each tensor that are kept to compare products
RANGES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
"""The shares of the largest range that are tried."""
LEVELS = 255


def quantize_static(model: onnx.ModelProto, path: Path, *, feeds: Sequence[Feeds], smoothing: float | None) -> None:
    """Write the model to `path` in int8, with activations scaled as the example inputs `feeds` suggest.

    `smoothing` is the strength of SmoothQuant, from 0 (all stays with the rows) to 1 (all goes into the weights), which
    is taken where it lessens the error; None leaves it out.
    """
    products = products_of(model.graph)
    weights = Weights(Rewriting(model), products)
    groups: dict[str, list[Product]] = {}
    for product in products.found.values():
        groups.setdefault(product.rows, []).append(product)
    tied = {product.rows for product in products.found.values() if weights.same_table(product.matrix)}
    sampled = sample_rows(model, feeds, groups)
    # A weight that is a table of embeddings, too, is held once, so it cannot take factors.
    fits = {name: fit(sampled[name], groups[name], None if name in tied else smoothing) for name in groups}
    onnx.save(rewritten(model, lambda rewriting, weights: FixedRows(rewriting, weights, fits)), path)


@dataclass(frozen=True)
class Sampled:
    """A tensor's values when the model reads the example rows."""

    rows: NDArray[np.float32]
    """Some of its rows, (S, K)."""
    lowest: NDArray[np.float32]
    """The least value of each channel, (K,)."""
    highest: NDArray[np.float32]


def sample_rows(
    model: onnx.ModelProto, feeds: Sequence[Feeds], groups: Mapping[str, Sequence[Product]]
) -> dict[str, Sampled]:
    """Run the model on the example inputs; return what the rows of its products held."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    inputs = {entry.name for entry in model.graph.input}
    names = [name for name in groups if name not in inputs]
    known = {entry.name for entry in model.graph.output}
    watched.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names if name not in known)
    session = onnxruntime.InferenceSession(watched.SerializeToString(), providers=["CPUExecutionProvider"])
    per_call = -(-MAX_SAMPLED // len(feeds))
    found: dict[str, list[Sampled]] = {name: [] for name in groups}
    for feed in feeds:
        values = dict(zip(names, session.run(names, dict(feed)), strict=True)) if names else {}
        for name, products in groups.items():
            value = np.asarray(values[name] if name in values else feed[name])
            value = value.T if products[0].rows_transposed else value
            rows = value.reshape(-1, value.shape[-1])  # (R, K)
            some = np.linspace(0, len(rows) - 1, min(per_call, len(rows))).round().astype(np.int64)
            found[name].append(Sampled(rows[some], rows.min(axis=0), rows.max(axis=0)))
    return {
        name: Sampled(
            np.concatenate([each.rows for each in calls])[:MAX_SAMPLED],
            np.min([each.lowest for each in calls], axis=0),
            np.max([each.highest for each in calls], axis=0),
        )
        for name, calls in found.items()
    }


@dataclass(frozen=True)
class Fit:
    """The mapping of a tensor's rows to 8 bits: q = round(x * factors / scale) + zero, from 0 to 255."""

    scale: np.float32
    zero: np.uint8
    factors: NDArray[np.float32] | None
    """What each channel is multiplied by, (K,), and each row of the weight divided by; None is 1."""

    def held(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return rows as the products see them."""
        scaled = rows if self.factors is None else rows * self.factors
        whole = np.clip(np.round(scaled / self.scale) + np.float32(self.zero), 0, LEVELS)
        return (whole - np.float32(self.zero)) * self.scale


def fit(sampled: Sampled, products: Sequence[Product], smoothing: float | None) -> Fit:
    """Return the way to hold rows that changes the products with them least."""
    matrix = np.concatenate([product.matrix for product in products], axis=1)  # (K, N)
    exact = sampled.rows @ matrix
    factors = [None] if smoothing is None else [None, smoothing_factors(sampled, matrix, smoothing)]
    best, least = None, np.inf
    for factor in factors:
        whole, scale = in_int8((matrix if factor is None else matrix / factor[:, None]).T)
        held = whole.T * scale  # (K, N)
        for share in RANGES:
            way = fit_range(sampled, factor, share)
            error = float(np.square(way.held(sampled.rows) @ held - exact).mean())
            if error < least:
                best, least = way, error
    assert best is not None
    return best


def smoothing_factors(sampled: Sampled, matrix: NDArray[np.float32], smoothing: float) -> NDArray[np.float32]:
    """Return SmoothQuant's factors for the channels, (K,).

    A channel that holds less than most counts as their mean: one that is zero in the example rows may not be in others.
    """
    rows = np.maximum(-sampled.lowest, sampled.highest)
    rows = np.maximum(rows, np.maximum(rows.mean(), np.float32(1e-5)))
    weights = np.maximum(np.abs(matrix).max(axis=1), np.float32(1e-5))
    return (weights ** (1 - smoothing) / rows**smoothing).astype(np.float32)


def fit_range(sampled: Sampled, factors: NDArray[np.float32] | None, share: float) -> Fit:
    """Return the way to hold rows within a share of the range that they have."""
    by = np.float32(1) if factors is None else factors
    low = min(float((sampled.lowest * by).min()), 0.0) * share
    high = max(float((sampled.highest * by).max()), 0.0) * share
    scale = np.float32(max((high - low) / LEVELS, TINY))
    return Fit(scale, np.uint8(np.clip(round(-low / float(scale)), 0, LEVELS)), factors)


class FixedRows:
    """The products of a graph in int8, with rows that are held as was found."""

    def __init__(self, rewriting: Rewriting, weights: Weights, fits: Mapping[str, Fit]) -> None:
        self.rewriting, self.weights, self.fits = rewriting, weights, fits
        self.look_up = weights.look_up
        self.quantized: dict[str, list[str]] = {}

    def multiply(self, product: Product) -> None:
        """Emit a product in int8: rows (..., K) times a matrix (K, N), and what is added."""
        emit, output = self.rewriting.emit, product.output
        rows, way = self.weights.rows_of(product), self.fits[product.rows]
        if rows not in self.quantized:
            self.quantized[rows] = self.quantize(rows, way)
        whole, scale, zero = self.quantized[rows]
        weight, weight_scale = self.weights.in_int8(product, factors=way.factors)
        inputs = [whole, weight, scale, weight_scale, zero]
        if product.added is None:
            bias = self.weights.bias_of(product)
            emit("MatMulIntegerToFloat", [*inputs, *(["", bias] if bias else [])], output, domain=MICROSOFT)
        else:
            sums = emit("MatMulIntegerToFloat", inputs, f"int8/{output}/product", domain=MICROSOFT)
            emit("Add", [sums, self.weights.added_to(product) or ""], output)

    def quantize(self, rows: str, way: Fit) -> list[str]:
        """Return the names of rows in uint8, of their scale, and of their zero point."""
        emit, constant = self.rewriting.emit, self.rewriting.constant
        scale = constant(f"int8/{rows}/scale", way.scale)
        zero = constant(f"int8/{rows}/zero", way.zero)
        smooth = rows
        if way.factors is not None:
            smooth = emit("Mul", [rows, constant(f"int8/{rows}/factors", way.factors)], f"int8/{rows}/smooth")
        return [emit("QuantizeLinear", [smooth, scale, zero], f"int8/{rows}/quantized"), scale, zero]
