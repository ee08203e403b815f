"""The ways of holding a graph's numbers, by the name that a recipe gives them. Equal weights give equal bytes."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import onnx

from components.compress.pruning import prune
from components.export import quantize
from components.export.half import write_half
from components.export.int4 import quantize_int4
from components.export.static import Feeds, quantize_static
from components.params import Int8Static
from components.plumbing.errors import InputError

Rows = Callable[[int], Sequence[Feeds] | None]
"""A function of how many rows are wanted that returns example inputs of a graph; None where the task gives none."""

Method = Callable[[onnx.ModelProto, Any, Path, Rows | None], None]
"""A function that writes a graph into a file, as a candidate of the recipe asks for, with a task's example rows."""


def write_static(graph: onnx.ModelProto, candidate: Int8Static, path: Path, rows: Rows | None) -> None:
    """Write a graph in int8 with fixed scales. Raise InputError where the task gives no example rows."""
    feeds = None if rows is None else rows(candidate.rows)
    if not feeds:
        others = ", ".join(name for name in METHODS if name != candidate.method)
        raise InputError(
            f"the candidate {candidate.method} needs example rows, of which this task gives none; it can take {others}"
        )
    quantize_static(graph, path, feeds=feeds, smoothing=candidate.smoothing)


METHODS: dict[str, Method] = {
    "fp32": lambda graph, _, path, __: onnx.save(graph, path),
    "fp16": lambda graph, _, path, __: write_half(graph, path),
    "int8": lambda graph, _, path, __: quantize(graph, path),
    "int8_static": write_static,
    "int4": lambda graph, candidate, path, _: quantize_int4(graph, path, block_size=candidate.block_size),
    "pruned_int8": lambda graph, candidate, path, _: quantize(prune(graph, sparsity=candidate.sparsity), path),
}
