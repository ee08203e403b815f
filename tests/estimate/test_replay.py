from collections.abc import Callable
from typing import Any

import pytest
import torch

from components.estimate.replay import MAX_FLOPS, is_safe, smaller, time_operations
from components.estimate.trace import fake_mode, trace_step
from components.training.objective import Objective, Player
from tests.estimate.small import ADAMW, Case, gpt_case, mlp_case

CPU = torch.device("cpu")


def traced(case: Case) -> Any:
    return trace_step(
        case.model, case.objective, [case.optimizer], batch=case.batch, clip=None, precision="fp32", mode=fake_mode()
    )


@pytest.mark.parametrize("make", [lambda: gpt_case(dropout=0.1), mlp_case], ids=["gpt", "mlp"])
def test_nearly_all_of_a_step_is_run_within_the_budget(make: Callable[[], Case]) -> None:
    trace = traced(make())
    state = torch.get_rng_state()
    timing = time_operations(trace.operations, device=CPU, budget_s=10.0)
    assert timing.measured_share > 0.9
    assert all(seconds > 0 for seconds in timing.seconds.values())
    assert timing.flops_per_s > 1e6
    assert torch.equal(torch.get_rng_state(), state)


def test_what_the_budget_does_not_reach_is_told_by_its_bytes() -> None:
    timing = time_operations(traced(mlp_case()).operations, device=CPU, budget_s=0.0)
    assert timing.measured_share == 0.0
    assert 0 < timing.step_s < 1.0


def test_kernel_that_may_end_the_process_on_made_up_numbers_is_told_by_its_forward() -> None:
    model = torch.nn.LSTM(64, 64, batch_first=True)
    rows = torch.zeros(8, 16, 64)
    player = Player("", list(model.named_parameters()), lambda model, rows: model(rows)[0].float().sum())
    objective = Objective([player], lambda epoch, start: [rows], 1, lambda model: {}, "rows")
    trace = trace_step(model, objective, [ADAMW], batch=rows, clip=None, precision="bf16", mode=fake_mode())
    operations = [op for phase in trace.operations.values() for op in phase]
    assert all(is_safe(op, CPU) for op in operations if "mm" in op.name)
    assert not any(is_safe(op, CPU) for op in operations if any("uint8" in str(leaf) for leaf in op.leaves))
    timing = time_operations(trace.operations, device=CPU, budget_s=1.0)
    assert timing.seconds["backward"] > timing.seconds["forward"] / 2


def test_no_whole_numbers_are_made_up_on_a_gpu() -> None:
    operations = [op for phase in traced(gpt_case()).operations.values() for op in phase]
    embedding = next(op for op in operations if op.name == "aten.embedding.default")
    product = next(op for op in operations if "mm" in op.name)
    assert (is_safe(embedding, CPU), is_safe(embedding, torch.device("cuda"))) == (True, False)
    assert is_safe(product, torch.device("cuda"))


def test_large_product_is_cut_to_fewer_rows() -> None:
    trace = traced(mlp_case(sizes=(8192, 8192, 10), num_rows=1024))
    operations = [op for phase in trace.operations.values() for op in phase if op.flops > MAX_FLOPS]
    assert operations
    for operation in operations:
        times, cut = smaller(operation)
        name = operation.name.split(".")[1]
        at = 1 if name == "addmm" else 0
        rows, kept = operation.arguments[0][at].shape[0], cut.arguments[0][at].shape[0]
        assert kept < rows
        assert times == pytest.approx(rows / kept)
        assert operation.flops / times <= MAX_FLOPS * 1.01
