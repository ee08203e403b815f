"""The model of arrays as an ONNX graph, which takes numbers as the source has them.

Compress makes its candidates of it, and evaluate the int8 model that it explains.
"""

import onnx
import torch
from torch import nn

from components.export import export_graph
from components.export.scaling import with_scaling
from serving.tasks.array_classification.predictor import INPUT, PredictorSettings


def export_classifier(model: nn.Module, settings: PredictorSettings) -> onnx.ModelProto:
    """Export the classifier in fp32, with the scaling, for any batch size: INPUT (B, V) → logits (B, L)."""
    dynamic = {INPUT: {0: torch.export.Dim.DYNAMIC}}
    graph = export_graph(model, {INPUT: torch.zeros((2, settings.num_values))}, outputs=["logits"], dynamic=dynamic)
    return with_scaling(graph, name=INPUT, offset=settings.offset, scale=settings.scale)
