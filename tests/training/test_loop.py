import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from components.params import Clip, EarlyStopping, Optimizer, Schedule, Training
from components.plumbing.errors import InputError, TrainingError
from components.plumbing.progress import Bar
from components.tracking.tracker import NullTracker
from components.training import loop
from components.training.batches import Batch, Rows, training_batches
from components.training.checkpoint import Position, kept_manner, last_position
from components.training.loop import train
from components.training.machine import start
from components.training.objective import Objective, Player
from components.training.optimizers import build_optimizer
from components.training.plan import Plan
from components.training.precision import choose_precision
from components.training.saving import Saver

ROWS = Rows(
    row=np.arange(40), input_ids=[np.array([1 + i % 5, 2 + i % 3]) for i in range(40)], label_id=np.arange(40) % 3 % 2
)
ADAMW = Optimizer(name="adamw", learning_rate=0.01, weight_decay=0.01, betas=(0.9, 0.999))
SGD = Optimizer(name="sgd", learning_rate=0.1, weight_decay=0.0, momentum=0.5)
BY_NORM = Clip(by="norm", limit=1.0)
PATIENT = EarlyStopping(metric="loss", patience=50)
TRAINING = Training(
    seed=0, epochs=3, steps_per_epoch=None, batch_size=4, precision="bf16", optimizer=ADAMW, clip=BY_NORM,
    schedule=Schedule(name="linear", warmup_share=0.1), early_stopping=PATIENT,
)  # fmt: skip


class TinyClassifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(8, 8)
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(8, 2)

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.head(self.dropout(self.embedding(input_ids).mean(dim=1)))


class TinyPair(nn.Module):
    """Two parts that play against each other: `one` moves points, `two` scores them."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(2, 2)
        self.two = nn.Linear(2, 1)


class Recorder(NullTracker):
    def __init__(self) -> None:
        self.points: list[tuple[int, dict[str, float]]] = []
        self.num_sent = 0
        self.files: list[str] = []

    def log_metrics(self, values: Mapping[str, float], *, step: int) -> None:
        self.points.append((step, dict(values)))

    def flush(self) -> None:
        self.num_sent = len(self.points)

    def log_file(self, path: Path, *, folder: str = "") -> None:
        self.files.append(path.name)


def make_plan(*, epochs: int = 3, clip: Clip | None = BY_NORM, early_stopping: EarlyStopping | None = PATIENT) -> Plan:
    return Plan(
        num_epochs=epochs,
        num_steps_per_epoch=10,
        schedule=Schedule(name="linear", warmup_share=0.1),
        clip=clip,
        early_stopping=early_stopping,
        precision="fp32",
        unit="tokens",
    )


def batches(epoch: int, start: int) -> Iterator[Batch]:
    return training_batches(ROWS, batch_size=4, pad_token_id=0, seed=0, epoch=epoch, start=start)


def loss_of(model: nn.Module, batch: Batch) -> Tensor:
    return functional.cross_entropy(model(batch.input_ids), batch.label_id)


def validate(model: nn.Module) -> dict[str, float]:
    model.eval()
    with torch.inference_mode():
        return {"validation_loss": float(sum(loss_of(model, batch) for batch in batches(0, 0)))}


def classifier_objective(
    model: nn.Module, *, loss: Any = loss_of, check: Any = validate, batches: Any = batches
) -> Any:
    player = Player("", list(model.named_parameters()), loss)
    return Objective([player], batches, 10, check, "tokens")


def run(
    folder: Path,
    *,
    plan: Plan | None = None,
    tracker: NullTracker | None = None,
    optimizer: Optimizer = ADAMW,
    **changes: Any,
) -> tuple[nn.Module, Position]:
    torch.manual_seed(0)
    model = TinyClassifier()
    optimizers = [build_optimizer(optimizer, model.named_parameters())]
    objective = classifier_objective(model, **changes)
    position = train(
        model, plan or make_plan(), objective, optimizers, checkpoints=folder, tracker=tracker or NullTracker(),
        title="tiny",
    )  # fmt: skip
    return model, position


def pair_losses(steps_before_kill: float = math.inf) -> Any:
    """`one` is to make points that `two` scores low; `two` is to score rows above those. Both draw from torch."""
    done = 0

    def loss_of_one(model: TinyPair, batch: Batch) -> Any:
        nonlocal done
        done += 1
        if done > steps_before_kill:
            raise Killed
        return functional.softplus(model.two(model.one(torch.randn(len(batch.row), 2)))).mean()

    def loss_of_two(model: TinyPair, batch: Batch) -> Any:
        real = batch.input_ids.float()
        return (model.two(model.one(torch.randn(len(batch.row), 2))) - model.two(real)).sigmoid().mean()

    return loss_of_one, loss_of_two


def run_pair(
    folder: Path, *, losses: Any = None, tracker: NullTracker | None = None, plan: Plan | None = None
) -> tuple[TinyPair, Position]:
    torch.manual_seed(0)
    model = TinyPair()
    loss_of_one, loss_of_two = losses or pair_losses()
    players = [
        Player("one", list(model.one.named_parameters()), loss_of_one),
        Player("two", list(model.two.named_parameters()), loss_of_two),
    ]
    optimizers = [build_optimizer(ADAMW, players[0].parameters), build_optimizer(SGD, players[1].parameters)]
    objective = Objective(players, batches, 10, lambda _: {"validation_loss": 1.0}, "rows")
    plan = plan or make_plan(early_stopping=None)
    position = train(
        model, plan, objective, optimizers, checkpoints=folder, tracker=tracker or NullTracker(), title="pair"
    )
    return model, position


def assert_same(one: nn.Module, two: nn.Module) -> None:
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b)


class Killed(BaseException):
    pass


def test_fast_dropout_draws_others_and_the_same_each_time(tmp_path: Path) -> None:
    fast = replace(make_plan(), fast_dropout=True)
    (one, _), (two, _) = (run(tmp_path / name, plan=fast) for name in ("one", "two"))
    assert_same(one, two)
    slow, _ = run(tmp_path / "slow")
    assert not torch.equal(one.head.weight, slow.head.weight)


def test_two_trainings_give_the_same_weights(tmp_path: Path) -> None:
    one, _ = run(tmp_path / "one")
    two, _ = run(tmp_path / "two")
    assert_same(one, two)


@pytest.mark.parametrize("killed_at", [3, 10, 17, 25])
def test_training_that_was_killed_carries_on_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int
) -> None:
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
    assert_same(whole, resumed)
    assert position == whole_position


def test_a_profiler_sees_the_phases_of_each_step_and_changes_no_weight(tmp_path: Path) -> None:
    whole, _ = run(tmp_path / "whole", plan=make_plan(epochs=1))
    with torch.profiler.profile() as profiler:
        seen, position = run(tmp_path / "seen", plan=make_plan(epochs=1))
    assert_same(whole, seen)
    names = [event.name for event in profiler.events()]
    assert names.count("data") == position.step + 1  # and the end of the epoch
    assert names.count("forward") == names.count("backward") == names.count("optimizer") == position.step


def test_players_that_were_killed_carry_on_to_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, whole_position = run_pair(tmp_path / "whole")
    monkeypatch.setattr(loop, "CHECKPOINT_INTERVAL_S", 0.0)
    with pytest.raises(Killed):
        run_pair(tmp_path / "resumed", losses=pair_losses(13))
    resumed, position = run_pair(tmp_path / "resumed")
    assert_same(whole, resumed)
    assert position == whole_position


def test_tied_weights_survive_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(8, 8)
            self.head = nn.Linear(8, 8, bias=False)
            self.head.weight = self.embedding.weight

        def forward(self, input_ids: Tensor) -> Tensor:
            return self.head(self.embedding(input_ids).mean(dim=1))

    def trained(folder: Path) -> Tied:
        torch.manual_seed(0)
        model = Tied()
        optimizers = [build_optimizer(ADAMW, model.named_parameters())]
        objective = classifier_objective(model)
        train(model, make_plan(), objective, optimizers, checkpoints=folder, tracker=NullTracker(), title="tied")
        return model

    first = trained(tmp_path)
    again = trained(tmp_path)  # nothing is left to do but to read the best weights
    assert_same(first, again)
    assert again.head.weight is again.embedding.weight


def test_one_batch_is_overfit(tmp_path: Path) -> None:
    batch = next(batches(0, 0))
    model, _ = run(
        tmp_path, plan=make_plan(epochs=20, early_stopping=None),
        optimizer=ADAMW.model_copy(update={"learning_rate": 0.1}), batches=lambda _epoch, start: [batch] * (10 - start),
    )  # fmt: skip
    assert loss_of(model.eval(), batch).item() < 0.05


def scripted(losses: list[float], weights: list[Tensor]) -> Any:
    left = iter(losses)

    def check(model: nn.Module) -> dict[str, float]:
        weights.append(next(model.parameters()).detach().clone())
        return {"validation_loss": next(left)}

    return check


def test_early_stopping_keeps_the_best_epoch(tmp_path: Path) -> None:
    weights: list[Tensor] = []
    plan = make_plan(epochs=5, early_stopping=EarlyStopping(metric="loss", patience=2))
    model, position = run(tmp_path, plan=plan, check=scripted([3.0, 1.0, 2.0, 2.5, 0.1], weights))
    assert (position.epoch, position.best_epoch) == (4, 2)
    assert torch.equal(next(model.parameters()), weights[1])


def test_looks_within_an_epoch_stop_the_training_there_and_keep_the_best(tmp_path: Path) -> None:
    weights: list[Tensor] = []
    plan = make_plan(epochs=2, early_stopping=EarlyStopping(metric="loss", patience=2, every=4))
    model, position = run(tmp_path, plan=plan, check=scripted([5.0, 4.0, 3.0, 1.0, 2.0, 2.5], weights))
    assert [one["epoch"] for one in position.history] == [0.4, 0.8, 1, 1.4, 1.8, 2]
    assert (position.step, position.best_epoch, position.best_look) == (20, 2, 4)
    assert torch.equal(next(model.parameters()), weights[3])
    early, position = run(tmp_path / "early", plan=plan, check=scripted([1.0, 2.0, 3.0], weights))
    assert (position.step, position.epoch, position.best_epoch, position.best_look) == (10, 1, 1, 1)
    assert torch.equal(next(early.parameters()), weights[6])


@pytest.mark.parametrize("killed_at", [3, 4, 6, 10, 17])
def test_looks_change_neither_the_steps_nor_what_a_killed_training_comes_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int
) -> None:
    plan = make_plan(early_stopping=EarlyStopping(metric="loss", patience=50, every=4))
    whole, whole_position = run(tmp_path / "whole", plan=plan)
    _, by_epochs = run(tmp_path / "by_epochs")
    assert whole_position.history[2]["validation_loss"] == by_epochs.history[0]["validation_loss"]
    losses = [whole_position.history[look]["train_loss"] for look in range(3)]  # of 4, 4 and 2 steps
    assert by_epochs.history[0]["train_loss"] == pytest.approx((4 * losses[0] + 4 * losses[1] + 2 * losses[2]) / 10)
    monkeypatch.setattr(loop, "CHECKPOINT_INTERVAL_S", 0.0)
    steps = 0

    def loss_until_killed(model: nn.Module, batch: Batch) -> Tensor:
        nonlocal steps
        steps += model.training
        if steps > killed_at:
            raise Killed
        return loss_of(model, batch)

    with pytest.raises(Killed):
        run(tmp_path / "resumed", plan=plan, loss=loss_until_killed)
    resumed, position = run(tmp_path / "resumed", plan=plan)
    assert_same(whole, resumed)
    assert position == whole_position


def test_without_early_stopping_the_last_epoch_is_the_result(tmp_path: Path) -> None:
    weights: list[Tensor] = []
    plan = make_plan(epochs=3, early_stopping=None)
    model, position = run(tmp_path, plan=plan, check=scripted([1.0, 2.0, 3.0], weights))
    assert (position.epoch, position.best_epoch) == (3, 3)
    assert torch.equal(next(model.parameters()), weights[2])


def test_metric_that_is_not_measured_is_refused(tmp_path: Path) -> None:
    plan = make_plan(early_stopping=EarlyStopping(metric="f1_macro", patience=1))
    with pytest.raises(InputError, match=r"early_stopping.metric is 'f1_macro', .* it measures 'loss'"):
        run(tmp_path, plan=plan)


@pytest.mark.parametrize("by", ["norm", "value"])
def test_gradients_are_clipped(tmp_path: Path, by: str) -> None:
    recorder = Recorder()

    def loss_with_huge_gradient(model: nn.Module, batch: Batch) -> Tensor:
        return loss_of(model, batch) * 1e6

    plan = make_plan(epochs=1, clip=Clip(by=by, limit=0.5))
    clipped, _ = run(tmp_path, loss=loss_with_huge_gradient, plan=plan, tracker=recorder)
    seen = [values["grad_norm"] for _, values in recorder.points if "grad_norm" in values]
    assert min(seen) > 1.0
    gradients = [p.grad for p in clipped.parameters() if p.grad is not None]
    total = torch.stack([g.norm() for g in gradients]).norm().item()
    largest = max(g.abs().max().item() for g in gradients)
    assert (total if by == "norm" else largest) == pytest.approx(0.5, rel=1e-4)


def test_gradients_are_left_alone_where_the_recipe_says_so(tmp_path: Path) -> None:
    model, _ = run(tmp_path, loss=lambda m, b: loss_of(m, b) * 1e6, plan=make_plan(epochs=1, clip=None))
    assert max(p.grad.abs().max().item() for p in model.parameters() if p.grad is not None) > 100


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_loss_that_is_not_finite_stops_with_step_and_rows(tmp_path: Path, bad: float) -> None:
    recorder = Recorder()
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf) .* at step 1 of 30, on rows .*no checkpoint was"):
        run(tmp_path, loss=lambda m, b: loss_of(m, b) * bad, tracker=recorder)
    left = json.loads((tmp_path / "stopped.json").read_text())
    assert (left["step"], sorted(left["rows"])) == (1, sorted(next(batches(0, 0)).row.tolist()))
    assert recorder.files == ["stopped.json"]


def test_loss_that_explodes_stops_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    steps = 0

    def exploding(model: nn.Module, batch: Batch) -> Tensor:
        nonlocal steps
        steps += 1
        return loss_of(model, batch) * (1e3 if steps > 14 else 1.0)

    with pytest.raises(TrainingError, match=r"the loss explodes: .* at step 15 of 30, .* last good checkpoint is kept"):
        run(tmp_path, loss=exploding)
    _, position = run(tmp_path)  # carries on from the first epoch's end
    assert (position.step, position.epoch) == (30, 3)


def test_high_loss_from_the_first_step_on_is_no_explosion(tmp_path: Path) -> None:
    _, position = run(tmp_path, loss=lambda m, b: loss_of(m, b) * 1e4)
    assert position.step == 30
    assert len(position.first_losses[""]) == 10  # a slow rise does not raise the limit


def test_a_player_s_loss_reaches_its_own_parameters_alone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    before = TinyPair()
    loss_of_one, _ = pair_losses()
    seen: list[tuple[bool, bool]] = []

    def watched_loss(model: TinyPair, batch: Batch) -> Tensor:
        seen.append((model.one.weight.requires_grad, model.two.weight.requires_grad))
        return loss_of_one(model, batch)

    def no_loss(model: TinyPair, batch: Batch) -> Tensor:
        seen.append((model.one.weight.requires_grad, model.two.weight.requires_grad))
        return model.two(torch.zeros(1, 2)).sum() * 0

    after, _ = run_pair(tmp_path, losses=(watched_loss, no_loss), plan=make_plan(epochs=1, early_stopping=None))
    assert seen == [(True, False), (False, True)] * 10
    assert torch.equal(before.two.weight, after.two.weight)
    assert not torch.equal(before.one.weight, after.one.weight)
    assert all(p.requires_grad for p in after.parameters())


def test_players_figures_carry_their_names(tmp_path: Path) -> None:
    recorder = Recorder()
    _, position = run_pair(tmp_path, tracker=recorder)
    first = recorder.points[0][1]
    assert set(first) == {
        "one_loss", "one_learning_rate", "one_grad_norm", "two_loss", "two_learning_rate", "two_grad_norm",
        "tokens_per_s",
    }  # fmt: skip
    assert first["two_learning_rate"] / first["one_learning_rate"] == pytest.approx(10.0)
    last = position.history[-1]
    assert last["train_loss"] == pytest.approx(last["one_train_loss"] + last["two_train_loss"])


def test_curves_reach_the_tracker_before_a_checkpoint_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder, save = Recorder(), Saver.save
    sent: list[bool] = []

    def noted(saver: Saver, position: Position, **named: Any) -> None:
        sent.append(recorder.num_sent == len(recorder.points) > 0)
        save(saver, position, **named)

    monkeypatch.setattr(Saver, "save", noted)
    run(tmp_path, tracker=recorder)
    assert sent == [True] * 3
    steps = [(step, set(values)) for step, values in recorder.points if "loss" in values]
    assert steps == [(n, {"loss", "learning_rate", "grad_norm", "tokens_per_s"}) for n in range(1, 31)]
    epochs = [(step, set(values)) for step, values in recorder.points if "validation_loss" in values]
    assert epochs == [(n, {"epoch", "train_loss", "validation_loss"}) for n in (10, 20, 30)]


def test_terminal_is_told_between_two_points_of_the_curves_and_where_a_training_carries_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[int, dict[str, Any]]] = []
    begun_at: list[int] = []
    begin, update = Bar.__init__, Bar.update

    def note_begin(bar: Bar, *given: Any, done: int = 0) -> None:
        begun_at.append(done)
        begin(bar, *given, done=done)

    def note_update(bar: Bar, done: int, figures: Any) -> None:
        told.append((done, dict(figures)))
        update(bar, done, figures)

    monkeypatch.setattr(Bar, "__init__", note_begin)
    monkeypatch.setattr(Bar, "update", note_update)
    monkeypatch.setattr(loop, "POINTS_OF_A_CURVE", 3)
    monkeypatch.setattr(loop, "SHOWN_EVERY_S", 0.0)
    recorder = Recorder()
    run(tmp_path, tracker=recorder)
    run(tmp_path, plan=make_plan(epochs=4))
    assert begun_at == [0, 30]
    assert [step for step, _ in told] == list(range(1, 41))
    points = {step: values for step, values in recorder.points if "loss" in values}
    assert list(points) == [10, 20, 30]
    for step, of_step in points.items():
        figures = told[step - 1][1]
        assert figures == {
            "loss": (of_step["loss"],), "lr": (of_step["learning_rate"],), "norm": (of_step["grad_norm"],),
            "tokens/s": of_step["tokens_per_s"],
        }  # fmt: skip


def test_precision_is_measured_only_where_it_is_left_open() -> None:
    device = torch.device("cpu")
    assert choose_precision("fp32", device=device) == ("fp32", 1.0)
    precision, speedup = choose_precision("auto", device=device)
    assert precision == ("bf16" if speedup >= 1.3 else "fp32")


def test_validation_figures_that_are_no_numbers_stop_with_the_last_good_checkpoint(tmp_path: Path) -> None:
    seen = iter([1.0, math.nan])
    with pytest.raises(TrainingError, match=r"validation_loss is nan after step 20 of 30; the last good checkpoint is"):
        run(tmp_path, check=lambda _: {"validation_loss": next(seen)})
    kept = last_position(tmp_path)
    assert kept is not None
    assert (kept.step, kept.precision) == (10, "fp32")


def test_a_training_carries_on_in_its_precision_and_with_its_threads_whatever_there_is_now(tmp_path: Path) -> None:
    assert (kept_manner(tmp_path).precision, kept_manner(tmp_path).num_threads) == (None, None)
    run(tmp_path, plan=make_plan(epochs=1))
    kept, now = kept_manner(tmp_path), torch.get_num_threads()
    assert (kept.precision, kept.num_threads) == ("fp32", now)
    torch.set_num_threads(now + 1)
    try:
        machine = start(TRAINING, tmp_path, stage="finetune")
        assert torch.get_num_threads() == now
    finally:
        torch.set_num_threads(now)
    assert machine.tags() == {
        "device": machine.device.type, "precision": "fp32", "num_threads": str(now),
        "instructions": torch.backends.cpu.get_cpu_capability(), "devices": "1",
    }  # fmt: skip
