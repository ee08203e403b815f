"""ONNX graphs in fp16, for GPUs. Equal weights give equal bytes.

Weights and what is computed have 16 bits (Micikevicius et al. 2018), so the file is half as large, and a GPU with
tensor cores is several times as fast as in fp32. Inputs and outputs keep their types. A CPU gives the same answers, but
slowly: most of its operators have no fp16, and are computed in fp32 between two casts. Recurrent layers stay in fp32,
and so does what reads numbers of the source, which may be beyond the largest of 16 bits (65,504).
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
        half = convert_float_to_float16(
            half, keep_io_types=True, op_block_list=left, node_block_list=readers_of_source(model.graph)
        )
    remove_detours(half.graph)
    onnx.save(half, path)


def readers_of_source(graph: onnx.GraphProto) -> list[str]:
    """Return the names of the nodes that read an input of floating-point numbers, or its scaling (`INPUT/centred`); a
    model's own state is no such input."""
    given = [
        one.name
        for one in graph.input
        if one.type.tensor_type.elem_type == onnx.TensorProto.FLOAT and not one.name.startswith("state_")
    ]
    taken = tuple(f"{name}/" for name in given)
    return [node.name for node in graph.node if any(one in given or one.startswith(taken) for one in node.input)]


def remove_detours(graph: onnx.GraphProto) -> None:
    """Let nodes in fp32 read what others gave in fp32, in place; the conversion cuts it to 16 bits on the way."""
    cast = {node.output[0]: node for node in graph.node if node.op_type == "Cast"}
    direct: dict[str, str] = {}
    for name, node in cast.items():
        before = cast.get(node.input[0])
        if before is not None and (bits_of(before), bits_of(node)) == (16, 32):
            direct[name] = before.input[0]
    for node in graph.node:
        for place, taken in enumerate(node.input):
            node.input[place] = direct.get(taken, taken)
    for _ in range(2):  # the second half of a detour, then the first
        used = {taken for node in graph.node for taken in node.input} | {output.name for output in graph.output}
        kept = [node for node in graph.node if node.op_type != "Cast" or node.output[0] in used]
        del graph.node[:]
        graph.node.extend(kept)


def bits_of(cast: onnx.NodeProto) -> int | None:
    """Return 16 or 32 where a Cast node gives floating-point numbers of so many bits."""
    to = next(attribute.i for attribute in cast.attribute if attribute.name == "to")
    return 16 if to == onnx.TensorProto.FLOAT16 else 32 if to == onnx.TensorProto.FLOAT else None
