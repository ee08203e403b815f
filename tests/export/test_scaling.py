"""The scaling of the input as part of a graph."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from components.export import export_graph
from components.export.scaling import with_scaling

VALUES = np.random.default_rng(0).uniform(0, 255, (5, 6)).astype(np.float32)


def graph_of(network: nn.Module) -> onnx.ModelProto:
    dynamic = {"values": {0: torch.export.Dim.DYNAMIC}}
    return export_graph(network.eval(), {"values": torch.zeros((2, 6))}, outputs=["logits"], dynamic=dynamic)


def logits(graph: onnx.ModelProto, values: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["logits"], {"values": values})[0])


def operators(graph: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in graph.graph.node]


@pytest.mark.parametrize(("offset", "more"), [(0.0, []), (127.5, ["Sub"])])
def test_scale_becomes_part_of_the_first_product(offset: float, more: list[str]) -> None:
    plain = graph_of(nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3)))
    before = plain.SerializeToString()
    scaled = with_scaling(plain, name="values", offset=offset, scale=255.0)
    assert_allclose(logits(scaled, VALUES), logits(plain, (VALUES - np.float32(offset)) / 255), atol=1e-5)
    assert operators(scaled) == more + operators(plain)
    assert plain.SerializeToString() == before


class Own(nn.Module):
    """A network whose input is no product's alone."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 6)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.linear(values) + values


@pytest.mark.parametrize("network", [nn.Sequential(nn.Tanh(), nn.Linear(6, 3)), Own()])
def test_what_cannot_take_the_scale_gets_a_division(network: nn.Module) -> None:
    plain = graph_of(network)
    scaled = with_scaling(plain, name="values", offset=0.0, scale=255.0)
    assert_allclose(logits(scaled, VALUES), logits(plain, VALUES / 255), atol=1e-5)
    assert "Div" in operators(scaled)


def test_values_that_are_not_scaled_leave_the_graph_as_it_is() -> None:
    plain = graph_of(nn.Linear(6, 3))
    assert operators(with_scaling(plain, name="values", offset=0.0, scale=1.0)) == operators(plain)
