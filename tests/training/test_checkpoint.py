"""Checkpoints: whole or absent, rotated, read only where they are what was written, and the way back from a spike."""

import errno
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from components.params import Checkpoints, EarlyStopping, Rollback
from components.plumbing.errors import DiskFullError, InputError, TrainingError
from components.training import checkpoint, saving
from components.training.checkpoint import FORMAT, PARTIAL, Position, last_position, newest_first
from components.training.machine import start
from components.training.plan import Plan
from components.training.saving import Saver
from tests.training.test_loop import (
    TRAINING,
    Killed,
    Recorder,
    TinyClassifier,
    assert_same,
    batches,
    loss_of,
    make_plan,
    run,
)

EACH_STEP = Checkpoints(every_steps=1, keep=3)


def plan_with(*, checkpoints: Checkpoints = EACH_STEP, on_spike: Rollback | None = None, **others: Any) -> Plan:
    plan = make_plan(**others)
    return Plan(**{**vars(plan), "checkpoints": checkpoints, "on_spike": on_spike})


def killed_after(steps: int) -> Any:
    taken = 0

    def loss(model: nn.Module, batch: Any) -> torch.Tensor:
        nonlocal taken
        taken += model.training
        if taken > steps:
            raise Killed
        return loss_of(model, batch)

    return loss


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Position]:
    return run(tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training that was killed in its 24th step, after two looks, of which the second was the best."""
    folder = tmp_path_factory.mktemp("stopped")
    with pytest.raises(Killed):
        run(folder, plan=plan_with(), loss=killed_after(23))
    return folder


def damaged_by(content: bytes, way: str) -> bytes:
    return content[:-3] if way == "truncated" else content[:-3] + bytes(3 * [7])


def steps_kept(folder: Path) -> list[int]:
    return [int(path.name.split("-")[0]) for path in newest_first(folder)]


def test_the_last_and_the_best_are_kept(stopped: Path) -> None:
    assert steps_kept(stopped) == [23, 22, 21, 20]
    assert {path.name for path in newest_first(stopped)[-1].iterdir()} == {
        "model.safetensors", "training.safetensors", "position.json", "checkpoint.json",
    }  # fmt: skip
    assert not list(stopped.glob(".*"))


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("model.safetensors", "changed"), ("training.safetensors", "truncated"), ("training.safetensors", "absent"),
        ("position.json", "changed"), ("checkpoint.json", "truncated"),
    ],
)  # fmt: skip
def test_damaged_checkpoint_is_left_and_the_one_before_carried_on_from(
    stopped: Path,
    whole: tuple[nn.Module, Position],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    name: str,
    way: str,
) -> None:
    folder = shutil.copytree(stopped, tmp_path / "training")
    path = folder / "000000023-00002-000" / name
    if way == "absent":
        path.unlink()
    else:
        path.write_bytes(damaged_by(path.read_bytes(), way))
    caplog.set_level(logging.INFO)
    model, position = run(folder, plan=plan_with())
    (line,) = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    assert str(path) in line
    assert line.endswith("the checkpoint is taken away, and training carries on from the one before")
    assert "carrying on from step 22 of 30" in caplog.text
    assert_same(whole[0], model)
    assert position == whole[1]


def test_checkpoint_without_its_best_weights_is_not_carried_on_from(
    stopped: Path, whole: tuple[nn.Module, Position], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = shutil.copytree(stopped, tmp_path / "training")
    best = folder / "000000020-00002-000" / "model.safetensors"
    best.write_bytes(damaged_by(best.read_bytes(), "changed"))
    model, position = run(folder, plan=plan_with())
    assert "carrying on from step" not in caplog.text
    assert_same(whole[0], model)
    assert position == whole[1]


def test_kill_while_a_checkpoint_is_written_leaves_the_one_before(
    stopped: Path, whole: tuple[nn.Module, Position], tmp_path: Path
) -> None:
    folder = shutil.copytree(stopped, tmp_path / "training")
    shutil.copytree(folder / "000000022-00002-000", folder / PARTIAL)
    (folder / PARTIAL / "checkpoint.json").unlink()
    model, position = run(folder)
    assert_same(whole[0], model)
    assert position == whole[1]
    assert not (folder / PARTIAL).exists()


def test_checkpoint_of_a_newer_version_is_refused_in_one_line(stopped: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(stopped, tmp_path / "training")
    card = newest_first(folder)[0] / "checkpoint.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | {"format": FORMAT + 1}))
    said = rf"is of a newer version of Modelyard \(format {FORMAT + 1}; .* remove {folder} to train from the beginning$"
    for carry_on in (lambda: run(folder), lambda: start(TRAINING, folder, stage="pretrain")):
        with pytest.raises(InputError, match=said):
            carry_on()
    shutil.rmtree(folder)
    run(folder, plan=plan_with(epochs=1))


def test_checkpoint_of_an_older_version_is_told_and_left(
    whole: tuple[nn.Module, Position], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "last").mkdir()
    model, _ = run(tmp_path)
    assert "is of an older version of Modelyard: training begins anew" in caplog.text
    assert_same(whole[0], model)


@pytest.mark.parametrize("how", ["copied", "without room"])
def test_full_disk_stops_with_the_last_good_checkpoint(
    whole: tuple[nn.Module, Position], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    written = 0
    write_tensors = checkpoint.write_tensors

    def full(path: Path, tensors: Any) -> None:
        nonlocal written
        written += 1
        write_tensors(path, tensors)
        if written == 26:  # the second file of the 13th checkpoint
            raise OSError(errno.ENOSPC, "No space left on device")

    if how == "without room":
        monkeypatch.setattr(saving, "free_bytes", lambda: 0)
    monkeypatch.setattr(checkpoint, "write_tensors", full)
    with pytest.raises(DiskFullError, match=r"no space left on the disk while writing .*; nothing earlier is lost"):
        run(tmp_path, plan=plan_with())
    left = last_position(tmp_path)
    assert left is not None
    assert left.step == 11  # the look at step 10 has a checkpoint of its own
    assert not (tmp_path / PARTIAL).exists()
    model, position = run(tmp_path)
    assert_same(whole[0], model)
    assert position == whole[1]


@pytest.mark.parametrize(("fallen", "is_taken"), [(0, True), (10_000, False)])
def test_memory_that_a_step_needs_again_is_not_taken_for_copies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fallen: int, is_taken: bool
) -> None:
    model = TinyClassifier()
    optimizer = torch.optim.AdamW(model.parameters())
    free = saving.ROOM * checkpoint.num_bytes_of(checkpoint.state_of(model, [optimizer])) + 5_000
    monkeypatch.setattr(saving, "free_bytes", lambda: free)
    monkeypatch.setattr(saving, "fallen_bytes", lambda: fallen)
    with saving.Saver(tmp_path, keep=1) as saver:
        saver.make_room(model=model, optimizers=[optimizer])
        assert (saver._copies is not None) == is_taken


def test_copies_stay_as_they_were_while_the_training_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = TinyClassifier()
    optimizer = torch.optim.AdamW(model.parameters())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    write = saving.write

    def later(folder: Path, shot: Any) -> Path:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(1)
        return write(folder, shot)

    monkeypatch.setattr(saving, "write", later)
    with Saver(tmp_path, keep=1) as saver:
        saver.save(Position(), model=model, optimizers=[optimizer])
    checkpoint.load_checkpoint(tmp_path, model=model, optimizers=[optimizer])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool])
def test_tensors_of_every_kind_are_copied(dtype: torch.dtype) -> None:
    whole = torch.randint(0, 2, (3, 4)).to(dtype)
    for value in (whole, whole.T, whole[:, 1:], whole[0, 0], whole[:0]):
        copies: dict[str, dict[str, torch.Tensor]] = {}
        checkpoint.make_room(copies, {"file": {"name": value}})
        checkpoint.copy_into(copies["file"]["name"], value)
        assert torch.equal(copies["file"]["name"], value)


def batch_of(step: int) -> Any:
    return next(batches((step - 1) // 10, (step - 1) % 10))


def spiky(steps: list[int], factor: float, *, killed_at: int | None = None) -> Any:
    """A loss that is wrong on the batches of these steps, whenever they are taken."""
    bad = {tuple(batch_of(step).row) for step in steps}
    taken = 0

    def loss(model: nn.Module, batch: Any) -> torch.Tensor:
        nonlocal taken
        taken += model.training
        if taken == killed_at:
            raise Killed
        return loss_of(model, batch) * (factor if model.training and tuple(batch.row) in bad else 1.0)

    return loss


@pytest.mark.parametrize("factor", [float("nan"), 1e4])
def test_spike_is_taken_back_and_its_batch_left_out_also_by_a_killed_training(tmp_path: Path, factor: float) -> None:
    plan, bad = plan_with(on_spike=Rollback(rollback=2), checkpoints=Checkpoints(every_steps=4)), [3, 17]
    recorder = Recorder()
    straight, position = run(tmp_path / "straight", plan=plan, loss=spiky(bad, factor), tracker=recorder)
    assert position.left_out == bad
    assert [look["num_left_out"] for look in position.history] == [1, 2, 2]
    left = json.loads((tmp_path / "straight" / "left_out_at_step_17.json").read_text())
    assert (left["step"], left["rows"]) == (17, batch_of(17).row.tolist())
    assert recorder.files == ["left_out_at_step_3.json", "left_out_at_step_17.json"]
    told = [step for step, values in recorder.points if "loss" in values]
    assert told == [step for step in range(1, 31) if step not in bad]
    killed = plan_with(on_spike=Rollback(rollback=2), checkpoints=Checkpoints(every_steps=1))
    for at in (2, 2, 19, 3):  # before and after the ways back
        with pytest.raises(Killed):
            run(tmp_path / "killed", plan=killed, loss=spiky(bad, factor, killed_at=at))
    resumed, resumed_position = run(tmp_path / "killed", plan=killed, loss=spiky(bad, factor))
    assert_same(straight, resumed)
    assert resumed_position == position


def test_more_spikes_than_the_recipe_allows_stop_the_training(tmp_path: Path) -> None:
    plan = plan_with(on_spike=Rollback(rollback=2))
    with pytest.raises(TrainingError, match=r"at step 3 of 30, after 2 batches were left out, on rows .*last good"):
        run(tmp_path, plan=plan, loss=lambda model, batch: loss_of(model, batch) * float("nan"))
    assert json.loads((tmp_path / "stopped.json").read_text())["step"] == 3


def test_early_stopping_and_a_way_back_go_together(tmp_path: Path) -> None:
    stopping = EarlyStopping(metric="loss", patience=50, every=4)
    plan = plan_with(on_spike=Rollback(rollback=2), early_stopping=stopping)
    calls = 0

    def loss(model: nn.Module, batch: Any) -> torch.Tensor:
        nonlocal calls
        calls += model.training
        return loss_of(model, batch) * (float("inf") if calls == 7 else 1.0)

    _, position = run(tmp_path, plan=plan, loss=loss)
    assert (position.left_out, len(position.history)) == ([7], 9)
