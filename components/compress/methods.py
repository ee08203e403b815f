"""The ways of holding a graph's numbers, by the name that a recipe gives them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx

from components.compress.pruning import prune
from components.export import quantize

METHODS: dict[str, Callable[[onnx.ModelProto, Any, Path, Any], None]] = {
    "fp32": lambda graph, _, path, __: onnx.save(graph, path),
    "int8": lambda graph, _, path, __: quantize(graph, path),
    "pruned_int8": lambda graph, candidate, path, __: quantize(prune(graph, sparsity=candidate.sparsity), path),
}
