import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from components.params import Clip, Optimizer, Schedule
from components.tracking.tracker import NullTracker
from components.training.batches import training_members
from components.training.loop import train
from components.training.objective import Objective, Player
from components.training.optimizers import build_optimizer, rate_factor
from components.training.plan import Plan

NUM_ROWS = 24
EPOCHS = 3
INPUTS = torch.randn(NUM_ROWS, 8, generator=torch.Generator().manual_seed(1))
TARGETS = torch.randn(NUM_ROWS, 6, generator=torch.Generator().manual_seed(2))
LIBRARY = {
    "sgd": (lambda p: torch.optim.SGD(p, lr=0.05), {"momentum": 0.0}),
    "momentum": (lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9), {"momentum": 0.9}),
    "rmsprop": (lambda p: torch.optim.RMSprop(p, lr=0.05), {"momentum": 0.0}),
    "rmsprop_momentum": (lambda p: torch.optim.RMSprop(p, lr=0.05, momentum=0.5), {"momentum": 0.5}),
    "adam": (lambda p: torch.optim.Adam(p, lr=0.05, betas=(0.8, 0.99)), {"betas": [0.8, 0.99]}),
    "adamw": (lambda p: torch.optim.AdamW(p, lr=0.05, weight_decay=0.0), {"betas": [0.9, 0.999]}),
}
NAMES = {"momentum": "sgd", "rmsprop_momentum": "rmsprop"}


def optimizer_settings(name: str, *, weight_decay: float = 0.0, **changes: Any) -> Optimizer:
    values = {"name": NAMES.get(name, name), "learning_rate": 0.05, "weight_decay": weight_decay, **LIBRARY[name][1]}
    return Optimizer.model_validate_json(json.dumps(values | changes))


@dataclass(frozen=True)
class RowsOfNumbers:
    row: np.ndarray

    @property
    def num_units(self) -> int:
        return len(self.row)


def loss_of(model: nn.Module, batch: RowsOfNumbers) -> Tensor:
    return (model(INPUTS[batch.row]) - TARGETS[batch.row]).square().mean()


def twins() -> tuple[nn.Linear, nn.Linear]:
    torch.manual_seed(0)
    one, two = nn.Linear(8, 6), nn.Linear(8, 6)
    two.load_state_dict(one.state_dict())
    return one, two


def batches_of(batch_size: int) -> Any:
    def batches(epoch: int, start: int) -> Iterator[RowsOfNumbers]:
        for members in training_members(NUM_ROWS, batch_size=batch_size, seed=0, epoch=epoch, start=start):
            yield RowsOfNumbers(members)

    return batches


class Snapshots:
    """The weights after each step, seen where the next step's loss is asked for."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def loss_of(self, model: nn.Module, batch: RowsOfNumbers) -> Tensor:
        self.seen.append(nn.utils.parameters_to_vector(model.parameters()).detach().clone())
        return loss_of(model, batch)


def ours(folder: Path, settings: Optimizer, *, batch_size: int, schedule: Schedule, clip: Clip | None) -> Snapshots:
    """Train with the project's own loop."""
    model, _ = twins()
    snapshots = Snapshots()
    player = Player("", list(model.named_parameters()), snapshots.loss_of)
    num_steps = -(-NUM_ROWS // batch_size)
    objective = Objective([player], batches_of(batch_size), num_steps, lambda _: {"validation_loss": 0.0}, "rows")
    plan = Plan(EPOCHS, num_steps, schedule, clip, None, "fp32", "rows")
    optimizer = build_optimizer(settings, player.parameters)
    train(model, plan, objective, [optimizer], checkpoints=folder, tracker=NullTracker(), title="tiny")
    snapshots.loss_of(model, RowsOfNumbers(np.arange(2)))
    return snapshots


def theirs(
    make: Callable[[Any], torch.optim.Optimizer],
    *,
    batch_size: int,
    scheduler: Callable[[Any], Any] | None = None,
    clip: Callable[[Any], object] | None = None,
) -> Snapshots:
    """Train with torch alone."""
    _, model = twins()
    snapshots = Snapshots()
    optimizer = make(model.parameters())
    rates = scheduler(optimizer) if scheduler else None
    for epoch in range(EPOCHS):
        for batch in batches_of(batch_size)(epoch, 0):
            optimizer.zero_grad()
            snapshots.loss_of(model, batch).backward()
            if clip:
                clip(model.parameters())
            optimizer.step()
            if rates:
                rates.step()
    snapshots.loss_of(model, RowsOfNumbers(np.arange(2)))
    return snapshots


def assert_same_steps(one: Snapshots, two: Snapshots, *, num_steps: int) -> None:
    assert len(one.seen) == len(two.seen) == num_steps + 1
    for step, (a, b) in enumerate(zip(one.seen, two.seen, strict=True)):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6, msg=lambda text, step=step: f"step {step}: {text}")


CONSTANT = Schedule(name="constant", warmup_share=0.0)


@pytest.mark.parametrize("batch_size", [NUM_ROWS, 5, 1], ids=["full batch", "mini-batch", "one row"])
@pytest.mark.parametrize("name", LIBRARY)
def test_every_step_is_the_library_s_own(tmp_path: Path, name: str, batch_size: int) -> None:
    mine = ours(tmp_path, optimizer_settings(name), batch_size=batch_size, schedule=CONSTANT, clip=None)
    assert_same_steps(
        mine, theirs(LIBRARY[name][0], batch_size=batch_size), num_steps=EPOCHS * -(-NUM_ROWS // batch_size)
    )


NUM_STEPS = EPOCHS * 5
SCHEDULERS = {
    "linear": lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda step: 1 - step / NUM_STEPS),
    "cosine": lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=NUM_STEPS),
    "one_cycle": lambda o: torch.optim.lr_scheduler.OneCycleLR(
        o, max_lr=0.05, total_steps=NUM_STEPS, pct_start=0.3, cycle_momentum=False
    ),
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_step_of_a_schedule_is_the_library_s_own(tmp_path: Path, name: str) -> None:
    schedule = Schedule(name=name, warmup_share=0.3 if name == "one_cycle" else 0.0)
    mine = ours(tmp_path, optimizer_settings("momentum"), batch_size=5, schedule=schedule, clip=None)
    library = theirs(LIBRARY["momentum"][0], batch_size=5, scheduler=SCHEDULERS[name])
    assert_same_steps(mine, library, num_steps=NUM_STEPS)


@pytest.mark.parametrize(("num_steps", "share"), [(100, 0.3), (37, 0.25), (7, 0.1), (1, 0.3), (20, 0.95)])
def test_one_cycle_has_the_library_s_rates(num_steps: int, share: float) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    library = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1.0, total_steps=num_steps, pct_start=share, cycle_momentum=False
    )
    schedule = Schedule(name="one_cycle", warmup_share=share)
    for step in range(num_steps):
        assert rate_factor(step, schedule=schedule, num_steps=num_steps) == pytest.approx(library.get_last_lr()[0])
        optimizer.step()
        library.step()


def test_one_cycle_of_few_steps_begins_at_the_top() -> None:
    schedule = Schedule(name="one_cycle", warmup_share=0.1)  # where the library divides by zero
    assert rate_factor(0, schedule=schedule, num_steps=10) == 1.0


def test_one_cycle_without_a_rise_is_refused() -> None:
    with pytest.raises(ValidationError, match="one_cycle rises before it falls: warmup_share must be above 0"):
        Schedule(name="one_cycle", warmup_share=0.0)


@pytest.mark.parametrize(
    ("by", "library"),
    [
        ("norm", lambda parameters: nn.utils.clip_grad_norm_(parameters, 0.1)),
        ("value", lambda parameters: nn.utils.clip_grad_value_(parameters, 0.1)),
    ],
)
def test_clipping_is_the_library_s_own(tmp_path: Path, by: str, library: Callable[..., Any]) -> None:
    clip = Clip(by=by, limit=0.1)
    mine = ours(tmp_path, optimizer_settings("momentum"), batch_size=5, schedule=CONSTANT, clip=clip)
    assert_same_steps(mine, theirs(LIBRARY["momentum"][0], batch_size=5, clip=library), num_steps=NUM_STEPS)
    free = theirs(LIBRARY["momentum"][0], batch_size=5)
    assert not torch.allclose(mine.seen[-1], free.seen[-1])  # it did clip


def test_bias_does_not_decay() -> None:
    model, before = twins()
    optimizer = build_optimizer(optimizer_settings("adamw", weight_decay=0.5), model.named_parameters())
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    torch.testing.assert_close(model.bias, before.bias)
    torch.testing.assert_close(model.weight, before.weight * (1 - 0.05 * 0.5))


def test_frozen_parameters_are_left_out() -> None:
    model, _ = twins()
    model.bias.requires_grad = False
    groups = build_optimizer(optimizer_settings("sgd"), model.named_parameters()).param_groups
    assert [p for group in groups for p in group["params"]] == [model.weight]


@pytest.mark.parametrize(
    ("name", "halfway"), [("constant", 1.0), ("linear", 0.5), ("cosine", 0.5 * (1 + math.cos(math.pi / 2)))]
)
def test_schedule_warms_up_and_decays(name: str, halfway: float) -> None:
    schedule = Schedule(name=name, warmup_share=0.2)
    rates = [rate_factor(step, schedule=schedule, num_steps=100) for step in range(100)]
    assert rates[0] == pytest.approx(0.05)
    assert rates[19] == pytest.approx(1.0)
    assert rates[60] == pytest.approx(halfway)
    assert max(rates) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "adamw", "momentum": 0.9, "betas": [0.9, 0.99]}, "adamw takes betas and no momentum"),
        ({"name": "sgd", "betas": [0.9, 0.99]}, "sgd takes momentum and no betas"),
        ({"name": "adam", "betas": [0.9, 1.5]}, "less than 1"),
        ({"name": "sgd", "momentum": 1.0}, "less than 1"),
    ],
)
def test_setting_that_takes_no_effect_or_breaks_the_optimizer_is_refused(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        Optimizer.model_validate_json(json.dumps({"learning_rate": 0.1, "weight_decay": 0.0, **settings}))
