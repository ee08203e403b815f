import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from components.estimate.trace import fake_mode, id_of, made_in, size_of, trace_step, without_numbers
from components.params import Clip, Optimizer
from components.training.objective import Player
from tests.estimate.small import ADAMW, MOMENTUM, SGD, Case, gpt_case, mlp_case


def traced(case: Case, *, clip: Clip | None = None, precision: str = "fp32") -> Any:
    return trace_step(
        case.model, case.objective, [case.optimizer], batch=case.batch, clip=clip, precision=precision,
        mode=fake_mode(),
    )  # fmt: skip


def kept_for_backward(case: Case, *, precision: str) -> int:
    """Bytes that autograd keeps in a real forward pass."""
    own = {id_of(p) for p in case.model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if id_of(tensor) not in own:
            kept[id_of(tensor)] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            case.objective.players[0].loss_of(case.model, case.batch)
    return sum(map(size_of, kept.values()))


def test_operations_of_a_linear_layer_are_those_of_its_three_products() -> None:
    case = mlp_case(sizes=(8, 4), num_rows=5)
    flops = traced(case).flops
    assert flops == {"forward": 2 * 5 * 8 * 4, "backward": 2 * 5 * 8 * 4, "update": 0}  # no gradient of the rows
    deep = traced(mlp_case(sizes=(8, 4, 3), num_rows=5)).flops
    assert deep["forward"] == 2 * 5 * (8 * 4 + 4 * 3)
    assert deep["backward"] == 2 * 5 * (8 * 4 + 2 * 4 * 3)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("make", [gpt_case, lambda: gpt_case(dropout=0.1), mlp_case], ids=["gpt", "dropout", "mlp"])
def test_activations_are_those_of_a_real_step(make: Callable[[], Case], precision: str) -> None:
    # torch lays the result of fused attention out otherwise where there are no numbers, which costs a copy a layer.
    case = make()
    kept = kept_for_backward(case, precision=precision)
    assert traced(case, precision=precision).activation_bytes == pytest.approx(kept, rel=0.05)


@pytest.mark.parametrize(
    ("optimizer", "states"), [(SGD, 0), (MOMENTUM, 1), (ADAMW, 2)], ids=["sgd", "momentum", "adamw"]
)
def test_weights_gradients_and_optimizer_state_by_the_optimizer(optimizer: Optimizer, states: int) -> None:
    case = gpt_case(optimizer=optimizer)
    num_bytes = 4 * sum(p.numel() for p in case.model.parameters())
    trace = traced(case)
    assert trace.gradient_bytes == num_bytes
    assert trace.weight_bytes == pytest.approx(num_bytes, rel=0.01)  # with its buffers
    assert trace.optimizer_bytes == pytest.approx(states * num_bytes, rel=0.001)  # with its counters of steps
    assert trace.peak_bytes > (2 + states) * num_bytes


def test_frozen_weights_have_neither_gradient_nor_state() -> None:
    case = mlp_case(sizes=(100, 200, 10))
    case.model[0].requires_grad_(False)
    trace = traced(case)
    assert trace.gradient_bytes == 4 * (200 * 10 + 10)
    assert trace.optimizer_bytes == pytest.approx(2 * trace.gradient_bytes, rel=0.01)
    assert trace.flops["backward"] == 2 * 32 * 200 * 10
    assert [p.requires_grad for p in case.model.parameters()] == [False, False, True, True]


def test_model_and_random_state_stay_as_they_are() -> None:
    case = gpt_case(dropout=0.1)
    before, state = copy.deepcopy(case.model.state_dict()), torch.get_rng_state()
    traced(case, clip=Clip(by="norm", limit=1.0))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in case.model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in case.model.parameters())
    assert case.model.training


def test_model_without_numbers_takes_no_memory_however_large() -> None:
    with made_in(fake_mode(), torch.device("cpu")):
        huge = nn.Linear(2**20, 2**20).to("cpu").float()  # 4 TB
    assert sum(p.numel() for p in huge.parameters()) == 2**40 + 2**20
    small = without_numbers(nn.Linear(2, 2), fake_mode())
    assert [tuple(p.shape) for p in small.parameters()] == [(2, 2), (2,)]


def test_recurrent_layer_counts_each_weight_once_a_token() -> None:
    model = nn.LSTM(16, 32, batch_first=True)
    case = mlp_case()
    rows = torch.zeros(4, 10, 16)
    new = Player("", list(model.named_parameters()), lambda model, rows: model(rows)[0].sum())
    objective = type(case.objective)([new], lambda e, s: [rows], 1, lambda m: {}, "rows")
    for precision in ("fp32", "bf16"):
        trace = trace_step(model, objective, [ADAMW], batch=rows, clip=None, precision=precision, mode=fake_mode())
        assert trace.flops["forward"] == 2 * 4 * 10 * (4 * 32 * 16 + 4 * 32 * 32), precision
