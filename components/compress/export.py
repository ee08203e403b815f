"""Small ONNX graphs from torch modules, by export, pruning and quantization. Equal weights give equal bytes."""

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
    """Export a module in fp32 as an ONNX graph, with example inputs in the order of its `forward` parameters.

    `dynamic` gives the axes of an input whose sizes may differ from the example's: {name: {axis: Dim.DYNAMIC}}. No two
    inputs may be one tensor, since that would be exported as one input; and torch treats sizes 0 and 1 as fixed.
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
    """Remove an export's notes from the graph, in place: stack traces with paths, and shapes that the quantizer
    rejects."""
    del model.graph.value_info[:]
    noted = [model, model.graph, *model.graph.node, *model.graph.initializer, *model.graph.input, *model.graph.output]
    for part in noted:
        part.doc_string = ""
        del part.metadata_props[:]
    return model


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


def quantize(model: onnx.ModelProto, path: Path) -> None:
    """Write the model to `path` with int8 weights, embeddings included; activations are scaled to int8 at each call.

    Each output channel has its own scale: on MiniLM, that halves the distance to the float model's scores at equal
    speed.
    """
    with quiet():
        quantize_dynamic(model, path, per_channel=True, weight_type=QuantType.QInt8)


@contextmanager
def quiet() -> Generator[None]:
    """Keep off the terminal the advice that the exporter and the quantizer log for their own developers."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
