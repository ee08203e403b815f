"""ONNX graphs in fp16, for GPUs. Equal weights give equal bytes.

Weights and what is computed have 16 bits (Micikevicius et al. 2018), so the file is half as large, and a GPU with
tensor cores is several times as fast as in fp32. Inputs and outputs keep their types. A CPU gives the same answers, but
slowly: most of its operators have no fp16, and are computed in fp32 between two casts. Recurrent layers stay in fp32.
"""

from pathlib import Path

import onnx
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

from components.export.exporter import quiet

RECURRENT = ["GRU", "LSTM", "RNN"]


def write_half(model: onnx.ModelProto, path: Path) -> None:
    """Write the model to `path` in fp16."""
    half = onnx.ModelProto()
    half.CopyFrom(model)
    left = list(DEFAULT_OP_BLOCK_LIST)
    if any(node.op_type in RECURRENT for node in model.graph.node):
        left += [*RECURRENT, "Transpose"]  # ONNX Runtime 1.31 crashes where it moves one in fp16 across an LSTM
    with quiet():
        half = convert_float_to_float16(half, keep_io_types=True, op_block_list=left)
    onnx.save(half, path)
