"""Rewriting of ONNX graphs, node by node. Equal graphs give equal bytes."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

MICROSOFT = "com.microsoft"
"""The domain of ONNX Runtime's own operators."""


class Rewriting:
    """A graph in the making: the nodes that it will have, in order, and the constants that they take.

    The model given stays as it was.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.made = onnx.ModelProto()
        self.made.CopyFrom(model)
        self.constants = {constant.name: constant for constant in self.made.graph.initializer}
        self.nodes: list[onnx.NodeProto] = []

    def array(self, name: str) -> NDArray[Any]:
        """Return a constant of the graph."""
        return numpy_helper.to_array(self.constants[name])

    def constant(self, name: str, value: NDArray[Any] | np.generic) -> str:
        """Add a constant, unless one of that name is there; return its name."""
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(value).reshape(np.shape(value)), name)
        return name

    def emit(self, operator: str, inputs: Sequence[str], output: str, *, domain: str = "", **attributes: Any) -> str:
        """Add a node; return the name of its output."""
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, domain=domain, **attributes))
        return output

    def finish(self) -> onnx.ModelProto:
        """Return the model of the nodes so far, with the constants that they use and no others."""
        graph = self.made.graph
        del graph.node[:]
        graph.node.extend(self.nodes)
        used = {name for node in self.nodes for name in used_by(node)} | {output.name for output in graph.output}
        kept = [constant for name, constant in self.constants.items() if name in used]
        del graph.initializer[:]
        graph.initializer.extend(kept)
        if all(opset.domain != MICROSOFT for opset in self.made.opset_import):
            self.made.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
        return self.made


def used_by(node: onnx.NodeProto) -> Iterator[str]:
    """Yield the names of the tensors that a node takes, and that the nodes of its branches take."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            yield from (output.name for output in graph.output)
            for inner in graph.node:
                yield from used_by(inner)
