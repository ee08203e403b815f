import gzip
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from torch.utils.flop_counter import FlopCounterMode

from components.estimate.prediction import flops_of_a_unit
from components.fitting import Training, begin
from components.models.storage import build
from components.plumbing.errors import InputError
from components.profiling.profile import Profile, profile
from components.profiling.reading import Operation, Recorded
from components.profiling.verdict import verdict
from components.tracking.tracker import NullTracker
from components.training.checkpoint import Position
from components.training.seats import Seat
from tests.estimate.test_training import case, made_rows
from tests.optimizers import optimizers_of


@pytest.fixture(autouse=True)
def _short_measurement_of_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("components.profiling.profile.LIMIT_BUDGET_S", 0.01)


PHASES = ["data", "forward", "backward", "optimizer", "other"]


def training(folder: Path, name: str, **changes: Any) -> Training:
    """A training of one of the small cases of the estimate."""
    task, facts, params = case(name)
    _, data = made_rows(folder, task, facts)
    stage = "finetune" if name == "mlp" else "pretrain"
    params = params.model_copy(update=changes)
    return Training(
        params,
        facts,
        data,
        network=partial(build, params.model, facts),
        stage=stage,
        title=stage,
        checkpoints=folder / "checkpoints",
    )


def profiled(folder: Path, name: str, *, num_steps: int = 3, **changes: Any) -> Profile:
    return profile(
        training(folder, name, **changes), num_steps=num_steps, trace=folder / "out" / "x.pt.trace.json.gz",
        tracker=NullTracker(),
    )  # fmt: skip


@pytest.mark.parametrize("name", ["gpt", "gan"])
def test_steps_are_divided_into_phases_and_operations(name: str, tmp_path: Path) -> None:
    found = profiled(tmp_path, name, epochs=20)
    assert list(found.shares) == PHASES
    assert sum(found.shares.values()) == pytest.approx(1)
    assert all(share > 0 for share in found.shares.values())
    assert len(found.operations) == 10
    assert [one.step_s for one in found.operations] == sorted((one.step_s for one in found.operations), reverse=True)
    assert any(one.name.startswith("aten::") and one.calls >= 1 for one in found.operations)
    assert not {one.name for one in found.operations} & {*PHASES, "ProfilerStep#1"}
    assert (found.num_steps, found.step_s > 0, 0 < found.mfu < 1) == (3, True, True)
    with gzip.open(found.trace, "rt", encoding="utf-8") as file:  # as Perfetto and TensorBoard's profiler read it
        events = json.load(file)["traceEvents"]
    names = [event.get("name", "") for event in events if event.get("ph") == "X"]
    assert sum(one.startswith("ProfilerStep#") for one in names) == 3
    assert names.count("forward") == (3 if name == "gpt" else 6)  # one of each player
    assert overlapping(events) == []
    assert list((tmp_path / "out").iterdir()) == [Path(found.trace)]
    assert not (tmp_path / "checkpoints").exists()


def overlapping(events: list[dict[str, Any]]) -> list[str]:
    """The slices of a trace that begin within another of their thread and end after it, which Perfetto leaves out."""
    found: list[str] = []
    open_until: dict[tuple[Any, Any], list[float]] = {}
    slices = [event for event in events if event.get("ph") == "X"]
    for one in sorted(slices, key=lambda event: (event["ts"], -event["dur"])):
        ends, end = open_until.setdefault((one["pid"], one["tid"]), []), one["ts"] + one["dur"]
        while ends and ends[-1] <= one["ts"]:
            ends.pop()
        if ends and end > ends[-1] + 0.01:
            found.append(one["name"])
        ends.append(end)
    return found


def test_training_of_few_steps_is_recorded_as_far_as_it_goes_or_refused(tmp_path: Path) -> None:
    assert profiled(tmp_path, "mlp", num_steps=50, epochs=3, steps_per_epoch=3).num_steps == 2
    with pytest.raises(InputError, match=r"finetune has 4 steps; a profile needs 6 or more: raise finetune.epochs"):
        profiled(tmp_path / "short", "mlp", epochs=2, steps_per_epoch=2)


@pytest.mark.parametrize("name", ["gpt", "encoder", "mlp"])
def test_operations_are_those_that_torch_counts_in_a_real_step(name: str, tmp_path: Path) -> None:
    work = training(tmp_path, name)
    begun = begin(work, tracker=NullTracker())
    told = flops_of_a_unit(begun.model, begun.plan, begun.objective)
    optimizers = optimizers_of(work.params, begun.objective)
    seats, position = list(map(Seat, begun.objective.players, optimizers)), Position()
    units = counted = 0
    for batch in begun.objective.batches(0, 0):
        with FlopCounterMode(display=False) as counter:
            for seat in seats:
                seat.step(begun.model, batch, plan=begun.plan, position=position)
        counted += counter.get_total_flops()
        units += batch.num_units
    assert told == pytest.approx(counted / units, rel=0.1)  # told by the batches nearest to the mean


SHARES = dict.fromkeys(PHASES, 0.05)
MM = Operation("aten::mm", 0.4, 0.04, 10)
FEW = Operation("aten::gelu", 0.4, 0.04, 10)
MANY = Operation("aten::copy_", 0.4, 0.004, 1000)


@pytest.mark.parametrize(
    ("shares", "operations", "said"),
    [
        ({"data": 0.6}, (MM,), "Data binds: a step waits for its batch for 60% of a step"),
        ({"optimizer": 0.6}, (MM,), "The optimizer binds: the update of the weights takes 60% of a step"),
        ({"other": 0.6}, (MM,), "The loop itself binds: 60% of a step is in none of its phases"),
        ({"forward": 0.3, "backward": 0.4}, (MM,), "they take 40% of a step, at 80% of the machine's limit while"),
        ({"forward": 0.3, "backward": 0.6}, (FEW, MM), r"Memory binds: .* takes 50% of a step (gelu)."),
        ({"forward": 0.3, "backward": 0.6}, (MANY, MM), "takes 50% of a step, in 1,000 calls of 4 µs"),
    ],
)
def test_what_takes_most_binds(shares: dict[str, float], operations: tuple[Operation, ...], said: str) -> None:
    found = verdict(Recorded(0.1, SHARES | shares, operations), product_rate=0.8)
    assert all(part in found for part in said.split(" .* "))
