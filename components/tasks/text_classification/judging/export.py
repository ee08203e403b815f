"""The model of texts as an ONNX graph, which takes token ids and their attention mask.

Compress makes its candidates of it, and evaluate the int8 model that it explains.
"""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import onnx
import torch
from torch import nn

from components.export import export_graph


def export_classifier(model: nn.Module) -> onnx.ModelProto:
    """Export the classifier in fp32, for any batch and length: input_ids, attention_mask (B, T) → logits (B, L)."""
    dynamic = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    inputs = {name: torch.ones((2, 4), dtype=torch.int64) for name in ("input_ids", "attention_mask")}
    with plain_attention(model):
        return export_graph(model, inputs, outputs=["logits"], dynamic=dict.fromkeys(inputs, dynamic))


@contextmanager
def plain_attention(model: nn.Module) -> Generator[None]:
    """Let an encoder of transformers compute attention by plain products for the time of the block.

    Fused attention of torch is exported as twice as many nodes. A model of another family stays as it is.
    """
    hosted: Any = getattr(model, "hosted", None)
    if not hasattr(hosted, "set_attn_implementation"):
        yield
        return
    chosen = hosted.config._attn_implementation
    hosted.set_attn_implementation("eager")
    try:
        yield
    finally:
        hosted.set_attn_implementation(chosen)
