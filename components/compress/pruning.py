"""Pruning of ONNX graphs: the smallest weights become zero. Equal weights give equal bytes."""

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper


def prune(model: onnx.ModelProto, *, sparsity: float) -> onnx.ModelProto:
    """Return a copy in which the smallest weights of each linear layer, a share of `sparsity`, are zero (magnitude
    pruning, Han et al. 2015)."""
    pruned = onnx.ModelProto()
    pruned.CopyFrom(model)
    weights = {weight.name: weight for weight in pruned.graph.initializer}
    for node in pruned.graph.node:
        weight = weights.get(node.input[1]) if node.op_type in ("MatMul", "Gemm") else None
        if weight is not None and len(weight.dims) == 2:
            weight.CopyFrom(
                numpy_helper.from_array(without_smallest(numpy_helper.to_array(weight), sparsity), weight.name)
            )
    return pruned


def without_smallest(weight: NDArray[np.float32], sparsity: float) -> NDArray[np.float32]:
    """Return a copy in which the `sparsity` share of weights with the smallest magnitude is zero; ties go in array
    order."""
    order = np.argsort(np.abs(weight), axis=None, kind="stable")
    kept = weight.copy()
    kept.flat[order[: round(weight.size * sparsity)]] = 0
    return kept
