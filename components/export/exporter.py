"""ONNX graphs in fp32 from torch modules. Equal weights give equal bytes."""

import inspect
import logging
import warnings
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import onnx
import torch
from torch import Tensor, nn

OPSET = 21  # the first whose QuantizeLinear takes a scale per row


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
