"""The model of arrays as an ONNX graph, which takes numbers that are scaled already.

Compress makes its candidates of it, and evaluate the int8 model that it explains.
"""

import onnx
import torch
from torch import nn

from components.export import export_graph


def export_classifier(model: nn.Module, *, num_values: int) -> onnx.ModelProto:
    """Export the classifier in fp32, for any batch size: values (B, V) → logits (B, L)."""
    dynamic = {"values": {0: torch.export.Dim.DYNAMIC}}
    return export_graph(model, {"values": torch.zeros((2, num_values))}, outputs=["logits"], dynamic=dynamic)
