import math

import pytest
import torch
from torch import nn

from components.params import Optimizer, Schedule
from components.training.optimizers import build_optimizer, learning_rate


def optimizer_settings(name: str, *, weight_decay: float = 0.0) -> Optimizer:
    adaptive = name in ("adam", "adamw")
    return Optimizer(
        name=name,  # pyright: ignore[reportArgumentType]
        learning_rate=0.1,
        weight_decay=weight_decay,
        momentum=None if adaptive else 0.0,
        betas=(0.9, 0.999) if adaptive else None,
    )


def step_once(optimizer: torch.optim.Optimizer, model: nn.Module) -> None:
    optimizer.zero_grad()
    model(torch.ones(3, 8)).square().sum().backward()
    optimizer.step()


def twins() -> tuple[nn.Linear, nn.Linear]:
    torch.manual_seed(0)
    one, two = nn.Linear(8, 6), nn.Linear(8, 6)
    two.load_state_dict(one.state_dict())
    return one, two


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("sgd", lambda p: torch.optim.SGD(p, lr=0.1)),
        ("rmsprop", lambda p: torch.optim.RMSprop(p, lr=0.1)),
        ("adam", lambda p: torch.optim.Adam(p, lr=0.1)),
        ("adamw", lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.0)),
    ],
)
def test_optimizer_steps_as_the_library_s_own(name, reference):
    ours, theirs = twins()
    step_once(build_optimizer(optimizer_settings(name), ours.named_parameters()), ours)
    step_once(reference(theirs.parameters()), theirs)
    torch.testing.assert_close(ours.weight, theirs.weight)
    torch.testing.assert_close(ours.bias, theirs.bias)


def test_bias_does_not_decay():
    model, before = twins()
    optimizer = build_optimizer(optimizer_settings("adamw", weight_decay=0.5), model.named_parameters())
    optimizer.zero_grad()
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    torch.testing.assert_close(model.bias, before.bias)
    torch.testing.assert_close(model.weight, before.weight * (1 - 0.1 * 0.5))


def test_frozen_parameters_are_left_out():
    model, _ = twins()
    model.bias.requires_grad = False
    groups = build_optimizer(optimizer_settings("sgd"), model.named_parameters()).param_groups
    assert [p for group in groups for p in group["params"]] == [model.weight]


@pytest.mark.parametrize(
    ("name", "halfway"), [("constant", 1.0), ("linear", 0.5), ("cosine", 0.5 * (1 + math.cos(math.pi / 2)))]
)
def test_schedule_warms_up_and_decays(name, halfway):
    schedule = Schedule(name=name, warmup_share=0.2)
    rates = [learning_rate(step, schedule=schedule, num_steps=100, highest=2.0) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[19] == pytest.approx(2.0)
    assert rates[60] == pytest.approx(2.0 * halfway)
    assert max(rates) == pytest.approx(2.0)


def test_setting_that_takes_no_effect_is_refused():
    with pytest.raises(ValueError, match="adamw takes betas and no momentum"):
        Optimizer(name="adamw", learning_rate=0.1, weight_decay=0.0, momentum=0.9, betas=(0.9, 0.99))
