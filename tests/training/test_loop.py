from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from components.errors import TrainingError
from components.params import EarlyStopping, Optimizer, Schedule
from components.tracking import NullTracker
from components.training import loop
from components.training.batches import Batch, Rows, training_batches
from components.training.checkpoint import Position
from components.training.loop import Plan, train
from components.training.precision import choose_precision

ROWS = Rows(
    row=np.arange(40), input_ids=[np.array([1 + i % 5, 2 + i % 3]) for i in range(40)], label_id=np.arange(40) % 3 % 2
)


class TinyClassifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(8, 8)
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(8, 2)

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.head(self.dropout(self.embedding(input_ids).mean(dim=1)))


class Recorder(NullTracker):
    def __init__(self) -> None:
        self.points: list[tuple[int, dict[str, float]]] = []

    def log_metrics(self, values, *, step):
        self.points.append((step, dict(values)))


def make_plan(*, epochs: int = 3, patience: int = 5, max_grad_norm: float | None = 1.0, rate: float = 0.01) -> Plan:
    return Plan(
        num_epochs=epochs,
        num_steps_per_epoch=10,
        optimizer=Optimizer(name="adamw", learning_rate=rate, weight_decay=0.01, betas=(0.9, 0.999)),
        schedule=Schedule(name="linear", warmup_share=0.1),
        max_grad_norm=max_grad_norm,
        early_stopping=EarlyStopping(metric="loss", patience=patience),
        precision="fp32",
    )


def batches(epoch: int, start: int) -> Iterator[Batch]:
    return training_batches(ROWS, batch_size=4, pad_token_id=0, seed=0, epoch=epoch, start=start)


def loss_of(model: nn.Module, batch: Batch) -> Tensor:
    return functional.cross_entropy(model(batch.input_ids), batch.label_id)


def validate(model: nn.Module) -> dict[str, float]:
    model.eval()
    with torch.inference_mode():
        return {"validation_loss": float(sum(loss_of(model, batch) for batch in batches(0, 0)))}


def run(
    folder: Path, *, plan: Plan | None = None, loss=loss_of, check=validate, tracker=None
) -> tuple[nn.Module, Position]:
    torch.manual_seed(0)
    model = TinyClassifier()
    position = train(
        model, plan or make_plan(), batches=batches, loss_of=loss, validate=check,
        checkpoints=folder, tracker=tracker or NullTracker(), title="tiny",
    )  # fmt: skip
    return model, position


class Killed(BaseException):
    pass


def test_two_trainings_give_the_same_weights(tmp_path):
    one, _ = run(tmp_path / "one")
    two, _ = run(tmp_path / "two")
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("killed_at", [3, 10, 17, 25])
def test_training_that_was_killed_carries_on_to_the_same_weights(tmp_path, monkeypatch, killed_at):
    whole, whole_position = run(tmp_path / "whole")
    monkeypatch.setattr(loop, "CHECKPOINT_INTERVAL_S", 0.0)
    steps = 0

    def loss_until_killed(model: nn.Module, batch: Batch) -> Tensor:
        nonlocal steps
        steps += 1
        if steps > killed_at:
            raise Killed
        return loss_of(model, batch)

    with pytest.raises(Killed):
        run(tmp_path / "resumed", loss=loss_until_killed)
    resumed_steps = 0

    def counted_loss(model: nn.Module, batch: Batch) -> Tensor:
        nonlocal resumed_steps
        resumed_steps += 1
        return loss_of(model, batch)

    resumed, position = run(tmp_path / "resumed", loss=counted_loss)
    assert resumed_steps == 30 - killed_at
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)
    assert position == whole_position


def test_one_batch_is_overfit(tmp_path):
    torch.manual_seed(0)
    model = TinyClassifier()
    batch = next(batches(0, 0))
    train(
        model, make_plan(epochs=20, rate=0.1, patience=20), batches=lambda _epoch, start: [batch] * (10 - start),
        loss_of=loss_of, validate=lambda m: {"validation_loss": loss_of(m.eval(), batch).item()},
        checkpoints=tmp_path, tracker=NullTracker(), title="tiny",
    )  # fmt: skip
    assert loss_of(model.eval(), batch).item() < 0.05


def test_early_stopping_keeps_the_best_epoch(tmp_path):
    losses = iter([3.0, 1.0, 2.0, 2.5, 0.1])
    weights: list[Tensor] = []

    def scripted(model: nn.Module) -> dict[str, float]:
        weights.append(next(model.parameters()).detach().clone())
        return {"validation_loss": next(losses)}

    model, position = run(tmp_path, plan=make_plan(epochs=5, patience=2), check=scripted)
    assert (position.epoch, position.best_epoch) == (4, 2)
    assert torch.equal(next(model.parameters()), weights[1])


def test_gradients_are_clipped(tmp_path):
    recorder = Recorder()

    def loss_with_huge_gradient(model: nn.Module, batch: Batch) -> Tensor:
        return loss_of(model, batch) * 1e6

    clipped, _ = run(tmp_path / "a", loss=loss_with_huge_gradient, plan=make_plan(epochs=1), tracker=recorder)
    seen = [values["grad_norm"] for _, values in recorder.points if "grad_norm" in values]
    assert min(seen) > 1.0
    for group in clipped.parameters():
        assert group.grad is not None
    total = torch.stack([p.grad.norm() for p in clipped.parameters() if p.grad is not None]).norm()
    assert total.item() <= 1.0 + 1e-4


def test_loss_that_is_not_finite_stops_with_step_and_rows(tmp_path):
    def broken(model: nn.Module, batch: Batch) -> Tensor:
        return loss_of(model, batch) * float("nan")

    with pytest.raises(TrainingError, match=r"the loss is nan .* at step 0, on rows .*no checkpoint was made yet"):
        run(tmp_path, loss=broken)


def test_curves_reach_the_tracker(tmp_path):
    recorder = Recorder()
    run(tmp_path, tracker=recorder)
    losses = [step for step, values in recorder.points if "loss" in values]
    assert losses == list(range(1, 31))
    assert [step for step, values in recorder.points if "validation_loss" in values] == [10, 20, 30]


def test_precision_is_measured_only_where_it_is_left_open():
    device = torch.device("cpu")
    assert choose_precision("fp32", device=device) == ("fp32", 1.0)
    precision, speedup = choose_precision("auto", device=device)
    assert precision == ("bf16" if speedup >= 1.3 else "fp32")
