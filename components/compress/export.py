"""From torch modules to small ONNX graphs: export, prune, quantize. The same weights give the same bytes."""

import inspect
import logging
import warnings
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import Tensor, nn

OPSET = 20  # the newest whose operators the quantizer knows


def export_graph(
    model: nn.Module, inputs: Mapping[str, Tensor], *, outputs: Sequence[str], dynamic: Mapping[str, Any]
) -> onnx.ModelProto:
    """A module in fp32 as an ONNX graph, by examples of its inputs in the order of its `forward`.

    `dynamic` gives the axes of an input whose sizes may differ from the example's: {name: {axis: Dim.DYNAMIC}}. No two
    inputs may be one tensor, which would be exported as one input; and torch takes sizes 0 and 1 for fixed.
    """
    # As the parameters of `forward` have them: what `*state` takes is one entry, a tuple.
    shapes = inspect.signature(model.forward).bind(*map(dynamic.get, inputs)).arguments
    with quiet():
        program = torch.onnx.export(
            model,
            tuple(inputs.values()),
            dynamo=True,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=tuple(shapes.values()),
            verbose=False,
        )
    assert program is not None
    return without_notes(program.model_proto)


def without_notes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drop what an export notes beside the model: stack traces with paths, and shapes that the quantizer rejects."""
    del model.graph.value_info[:]
    noted = [model, model.graph, *model.graph.node, *model.graph.initializer, *model.graph.input, *model.graph.output]
    for part in noted:
        part.doc_string = ""
        del part.metadata_props[:]
    return model


def prune(model: onnx.ModelProto, *, sparsity: float) -> onnx.ModelProto:
    """Set the smallest weights of every linear layer to zero, `sparsity` of each layer (Han et al. 2015)."""
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
    """A copy in which the `sparsity` share of smallest magnitude is zero; of equal ones, the first."""
    order = np.argsort(np.abs(weight), axis=None, kind="stable")
    kept = weight.copy()
    kept.flat[order[: round(weight.size * sparsity)]] = 0
    return kept


def quantize(model: onnx.ModelProto, path: Path) -> None:
    """Write the model with int8 weights, embeddings too; activations are scaled to int8 call by call.

    Each output channel has its own scale: on MiniLM that halves the distance to the float model's scores, at the same
    speed.
    """
    with quiet():
        quantize_dynamic(model, path, per_channel=True, weight_type=QuantType.QInt8)


@contextmanager
def quiet() -> Generator[None]:
    """Keep the exporter's and the quantizer's advice to their own developers off the terminal."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
