"""ONNX graphs from torch modules, in fp32 and in int8. Equal weights give equal bytes.

Compress makes its candidate `int8` by this code, and evaluate the int8 model that it explains.
"""

import inspect
import logging
import shutil
import warnings
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import torch
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


def quantize(model: onnx.ModelProto, path: Path) -> None:
    """Write the model to `path` with int8 weights, embeddings included; activations are scaled to int8 at each call.

    Each output channel has its own scale: on MiniLM, that halves the distance to the float model's scores at equal
    speed.
    """
    with quiet():
        quantize_dynamic(model, path, per_channel=True, weight_type=QuantType.QInt8)


def write_int8(graphs: Mapping[str, onnx.ModelProto], *, predictor: Path, folder: Path) -> None:
    """Write into a new folder what a predictor of serving/ loads: preprocess's files for it, and the graphs in int8 by
    their file names."""
    shutil.copytree(predictor, folder)
    for name, graph in graphs.items():
        quantize(graph, folder / name)


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
