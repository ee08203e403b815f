from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn

from components.export import quantize
from components.plumbing.errors import ArtifactError
from components.tasks.text_generation.judging.export import export_step
from components.tasks.text_generation.judging.stepping import TorchStep, load_stepping, stepping_of
from serving.tasks.text_generation.predictor import OnnxStep, Reading, Step, log2_probability
from tests.tiny_language import CONTEXT, VOCAB_SIZE, make_model

IDS = np.random.default_rng(0).integers(0, VOCAB_SIZE, 3 * CONTEXT + 5).tolist()
PIECES = [[len(IDS)], [1] * len(IDS), [5, 1, 1, CONTEXT + 3, 1, 2, CONTEXT - 2, *[1] * len(IDS)]]


@pytest.fixture(scope="module", params=["gpt", "lstm"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, nn.Module, Path]:
    folder = tmp_path_factory.mktemp(request.param)
    model = make_model(folder, request.param)
    graph = export_step(load_stepping(folder / "model"))
    onnx.save(graph, folder / "model.onnx")
    quantize(graph, folder / "int8.onnx")
    return request.param, model, folder


def steps_of(folder: Path) -> dict[str, Step]:
    return {"torch": TorchStep(load_stepping(folder / "model")), "onnx": OnnxStep(folder / "model.onnx")}


def read_in(step: Step, pieces: list[int]) -> np.ndarray:
    reading, found, start = Reading(step, context=CONTEXT), [], 0
    for size in pieces:
        found += list(reading.read(IDS[start : start + size]))
        start += size
    return np.concatenate(found)


def window_of(family: str, last: int) -> list[int]:
    """What the model sees when it has read the token IDS[last]: where the context is full, its last half goes on."""
    half = CONTEXT // 2
    start = 0 if family == "lstm" or last < CONTEXT else half * ((last - CONTEXT) // half + 1)
    return IDS[start : last + 1]


@torch.inference_mode()
def recomputed(family: str, model: nn.Module) -> np.ndarray:
    """Without a state: the whole window for every token."""
    rows = [model(torch.tensor([window_of(family, last)]))[0, -1] for last in range(len(IDS))]
    return torch.stack(rows).numpy()


def test_state_gives_what_recomputing_gives_past_the_context_too(made: tuple[str, nn.Module, Path]) -> None:
    family, model, folder = made
    expected = recomputed(family, model)
    assert expected.std() > 0.1
    for step in steps_of(folder).values():
        for pieces in PIECES:
            assert_allclose(read_in(step, pieces), expected, atol=2e-4)


def test_int8_is_near_and_every_product_is_quantized(made: tuple[str, nn.Module, Path]) -> None:
    family, model, folder = made
    graph = onnx.load(folder / "int8.onnx").graph
    weights = [weight for weight in graph.initializer if weight.data_type == onnx.TensorProto.FLOAT]
    assert max(np.prod(weight.dims) for weight in weights) <= 8 * 32 * 4  # biases and scales are left
    operators = {node.op_type for node in graph.node}
    assert {"gpt": "MatMulIntegerToFloat", "lstm": "DynamicQuantizeLSTM"}[family] in operators
    expected = recomputed(family, model)
    found = read_in(OnnxStep(folder / "int8.onnx"), [len(IDS)])
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.99


def test_state_keeps_its_size(made: tuple[str, nn.Module, Path]) -> None:
    family, _, folder = made
    reading = Reading(OnnxStep(folder / "model.onnx"), context=CONTEXT)
    sizes = set()
    for token in IDS:
        reading.last([token])
        sizes.add(tuple(state.shape for state in reading.state.values()))
    assert sizes == {((2, 4, CONTEXT, 8),) * 2 if family == "gpt" else ((2, 1, 32),) * 2}


def test_export_gives_the_same_bytes_again(made: tuple[str, nn.Module, Path]) -> None:
    _, _, folder = made
    again = export_step(load_stepping(folder / "model"))
    assert again.SerializeToString() == onnx.load(folder / "model.onnx").SerializeToString()


class Recurrent(nn.Module):
    """A language model, as a family without an export.py gives it."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCAB_SIZE, 12)
        self.recurrent = nn.GRU(12, 12, num_layers=2, batch_first=True)
        self.head = nn.Linear(12, VOCAB_SIZE)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        return self.step(input_ids, None)[0]

    def step(self, input_ids: torch.Tensor, state: Any) -> Any:
        hidden, after = self.recurrent(self.embedding(input_ids), state and state[0])
        return self.head(hidden), (after,)


def test_method_step_is_enough_to_be_served(tmp_path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Recurrent().eval()
    stepping = stepping_of(model, family="mlp")
    assert {name: tuple(value.shape) for name, value in stepping.inputs.items()} == {
        "input_ids": (1, 4), "state_0": (2, 1, 12),
    }  # fmt: skip
    onnx.save(export_step(stepping), tmp_path / "model.onnx")
    with torch.inference_mode():
        expected = model(torch.tensor([IDS]))[0].numpy()
    for step in (TorchStep(stepping), OnnxStep(tmp_path / "model.onnx")):
        for pieces in PIECES:
            assert_allclose(read_in(step, pieces), expected, atol=2e-5)


def test_model_without_a_step_says_what_its_family_lacks() -> None:
    with pytest.raises(
        ArtifactError, match=r"a model of the family 'mlp' cannot write token by token: .* a method `step`, or"
    ):
        stepping_of(nn.Linear(2, 2), family="mlp")


def test_log2_probability_is_that_of_torch() -> None:
    logits = np.random.default_rng(0).normal(0, 9, (5, 7)).astype(np.float32)
    tokens = np.array([0, 6, 3, 3, 1])
    expected = torch.log_softmax(torch.from_numpy(logits).double(), dim=1)[range(5), tokens] / np.log(2)
    assert_allclose(log2_probability(logits, tokens), expected, rtol=1e-5)
    assert_array_equal(log2_probability(logits, tokens) <= 0, True)
