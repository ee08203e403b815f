"""The step of a language model as an ONNX graph.

Compress makes its candidates of it, and evaluate the int8 model that it explains.
"""

import onnx
import torch

from components.export import export_graph
from components.models.stepping import Stepping


def export_step(stepping: Stepping) -> onnx.ModelProto:
    """Export the step in fp32, for any number of tokens."""
    dynamic = {"input_ids": {1: torch.export.Dim.DYNAMIC}}
    graph = export_graph(stepping.module, stepping.inputs, outputs=stepping.outputs, dynamic=dynamic)
    logits = next(output for output in graph.graph.output if output.name == "logits")
    length = logits.type.tensor_type.shape.dim[1]  # (1, T, V)
    if not length.dim_param:  # torch notes the example's for its own recurrent layers, which are of any length
        length.dim_param = "length"
    return graph
