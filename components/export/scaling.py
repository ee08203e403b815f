"""The scaling of a graph's input, as part of the graph: it takes the numbers that the source has."""

import numpy as np
import onnx
from onnx import helper, numpy_helper

PRODUCTS = frozenset({"Gemm", "MatMul"})


def with_scaling(model: onnx.ModelProto, *, name: str, offset: float, scale: float) -> onnx.ModelProto:
    """Return a model that reads (value - offset) / scale of the values of the input `name`, in fp32, and goes on.

    Where the input goes into products with constants alone, the scale becomes part of these, which costs nothing.
    The offset stays a subtraction: without it, int8 would spend its levels on what all values have in common.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    takers = [node for node in graph.node if name in node.input]
    added: list[onnx.NodeProto] = []
    read = name
    if offset:
        graph.initializer.append(numpy_helper.from_array(np.array(offset, np.float32), f"{name}/offset"))
        added.append(helper.make_node("Sub", [read, f"{name}/offset"], [f"{name}/centred"], name=f"{name}/centred"))
        read = f"{name}/centred"
    if scale != 1 and not fold(graph, takers, name, scale):
        graph.initializer.append(numpy_helper.from_array(np.array(scale, np.float32), f"{name}/scale"))
        added.append(helper.make_node("Div", [read, f"{name}/scale"], [f"{name}/scaled"], name=f"{name}/scaled"))
        read = f"{name}/scaled"
    for node in takers:
        for place, taken in enumerate(node.input):
            if taken == name:
                node.input[place] = read
    for place, node in enumerate(added):
        graph.node.insert(place, node)
    return made


def fold(graph: onnx.GraphProto, takers: list[onnx.NodeProto], name: str, scale: float) -> bool:
    """Divide the constants that the input is multiplied with by the scale; return whether that was possible."""
    constants = {constant.name: constant for constant in graph.initializer}
    num_takers = {one: sum(list(node.input).count(one) for node in graph.node) for one in constants}
    for node in takers:
        if node.op_type not in PRODUCTS or node.input[0] != name or num_takers.get(node.input[1]) != 1:
            return False
    for node in takers:
        constant = constants[node.input[1]]
        constant.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(constant) / np.float32(scale), constant.name))
    return True
