"""Graphs in fp16, with numbers of the source that 16 bits cannot hold."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from components.export import export_graph
from components.export.half import write_half
from components.export.scaling import with_scaling

ROWS = np.random.default_rng(0).uniform(0, 65_535 * 4, (6, 8)).astype(np.float32)


@pytest.mark.parametrize("first", [nn.Identity(), nn.Softsign()], ids=["folded", "divided"])
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_numbers_beyond_those_of_16_bits_are_scaled_before_they_are_cut(
    first: nn.Module, offset: float, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(first, nn.Linear(8, 5), nn.Tanh(), nn.Linear(5, 3))
    example = {"values": torch.zeros((4, 8))}
    graph = export_graph(network, example, outputs=["logits"], dynamic={"values": {0: torch.export.Dim.DYNAMIC}})
    scaled = with_scaling(graph, name="values", offset=offset, scale=65_535.0 * 4)
    write_half(scaled, tmp_path / "half.onnx")
    kinds = {one.data_type for one in onnx.load(tmp_path / "half.onnx").graph.initializer}
    assert onnx.TensorProto.FLOAT16 in kinds
    session = onnxruntime.InferenceSession(tmp_path / "half.onnx", providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = network(torch.from_numpy((ROWS - offset) / (65_535 * 4))).numpy()
    np.testing.assert_allclose(np.asarray(session.run(None, {"values": ROWS})[0]), expected, atol=3e-3)
