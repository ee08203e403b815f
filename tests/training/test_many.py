"""Two ranks take the steps of one, on the same rows, and a checkpoint moves from one to two and back."""

import time
from pathlib import Path

import psutil
import pytest
import torch
from torch import nn

from components.fitting import check_batch_size
from components.params import Devices
from components.plumbing.errors import InputError, ModelyardError
from components.plumbing.launched import launched
from components.training.joining import check_number
from components.training.many import CARRIES_ON, check_can_be_divided
from components.training.objective import Objective, Player
from components.training.ranks import Ranks
from tests.patience import PATIENCE_S
from tests.training.on_ranks import Job, Outcome, outcome, run_alone, run_on
from tests.training.test_parts import CASES, COMMON, differences

pytestmark = pytest.mark.long

PARTS = {"texts": {"micro_batch_size": 4}, "masked": {"micro_batch_size": 5}}
MOST_S = 5 * PATIENCE_S
"""Within which a run with a dead rank ends. The others would wait for it for a day."""
EARLY = {"early_stopping": {"metric": "loss", "patience": 9, "every": 1}}
STOPS = {"checkpoints": {"every_steps": 1}}
DROPOUT = STOPS | {"model": {**CASES["arrays"][3]["model"], "dropout": 0.3}}
CHANGES = {"arrays": {"batch_size": 18}, "arrays, all alike": EARLY, **PARTS}  # of 37 rows, the last alone
RUNS = [
    (case, parallel) for case in CASES for parallel in ("ddp", "fsdp") if (case, parallel) != ("adversarial", "fsdp")
]


@pytest.fixture(scope="module")
def on_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all cases, each trained on two ranks in both ways, and of trainings that were stopped."""
    folder = tmp_path_factory.mktemp("ranks")
    run_alone(folder, Job("texts", "", "from one", STOPS, stop_after=3))
    jobs = [Job(case, parallel, f"{case} {parallel}", CHANGES.get(case, {})) for case, parallel in RUNS]
    for parallel in ("ddp", "fsdp"):
        jobs += [
            Job("texts", parallel, f"to one {parallel}", STOPS, stop_after=2),
            Job("texts", parallel, f"looks first {parallel}", STOPS, stop_after=2),
            Job("texts", parallel, f"looks first {parallel}", STOPS),
            Job("texts", parallel, f"nested {parallel}", is_nested=True),
            Job("arrays", parallel, f"drops {parallel}", DROPOUT),
            Job("arrays", parallel, f"drops, stopped {parallel}", DROPOUT, stop_after=3),
            Job("arrays", parallel, f"drops, stopped {parallel}", DROPOUT),
        ]
    jobs += [Job("texts", "fsdp", "from one", STOPS)]
    assert run_on(2, folder, jobs) == 0
    return folder


@pytest.fixture(scope="module")
def texts_alone(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    folder = tmp_path_factory.mktemp("alone")
    run_alone(folder, Job("texts", "", "texts"))
    return outcome(folder, "texts")


def compare(one: Outcome, other: Outcome, within: float = 1e-4) -> None:
    assert differences((one.history, one.weights), (other.history, other.weights)) < within


@pytest.mark.parametrize(("case", "parallel"), RUNS)
def test_two_ranks_give_the_curve_of_one_on_the_same_rows(
    case: str, parallel: str, on_two: Path, tmp_path: Path
) -> None:  # fmt: skip
    run_alone(tmp_path, Job(case, "", "alone", CHANGES.get(case, {})))
    alone, both = outcome(tmp_path, "alone"), outcome(on_two, f"{case} {parallel}", size=2)
    compare(both, alone)
    assert [one + other for one, other in zip(*both.rows, strict=True)] == alone.rows[0]  # as many steps, in order
    assert all(len(one) - len(other) in (0, 1) for one, other in zip(*both.rows, strict=True))
    assert not list((on_two / f"{case} {parallel}").glob("checkpoints/*.old"))


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_a_checkpoint_moves_from_two_ranks_to_one(parallel: str, on_two: Path, texts_alone: Outcome) -> None:
    job = Job("texts", "", f"to one {parallel}", STOPS)
    run_alone(on_two, job)
    found = outcome(on_two, job.name)
    assert len(found.rows[0]) == len(texts_alone.rows[0]) - 2  # the steps after those that two ranks took
    compare(found, texts_alone)


def test_a_checkpoint_moves_from_one_rank_to_two(on_two: Path, texts_alone: Outcome) -> None:
    found = outcome(on_two, "from one", size=2)
    assert len(found.rows[1]) == len(texts_alone.rows[0]) - 3
    compare(found, texts_alone)


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_ranks_that_begin_with_a_look_carry_on(parallel: str, on_two: Path, texts_alone: Outcome) -> None:
    compare(outcome(on_two, f"looks first {parallel}", size=2), texts_alone)


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_layers_within_layers_are_trained_alike(parallel: str, on_two: Path, tmp_path: Path) -> None:
    run_alone(tmp_path, Job("texts", "", "alone", is_nested=True))
    compare(outcome(on_two, f"nested {parallel}", size=2), outcome(tmp_path, "alone"))


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_ranks_carry_on_to_the_same_weights_bit_for_bit_with_dropout(parallel: str, on_two: Path) -> None:
    whole, stopped = (outcome(on_two, f"{name} {parallel}", size=2) for name in ("drops", "drops, stopped"))
    assert stopped.history == whole.history
    assert all(torch.equal(stopped.weights[name], value) for name, value in whole.weights.items())
    assert stopped.rows[1] == whole.rows[1][3:]


@pytest.mark.parametrize(("parallel", "how"), [("ddp", "SIGKILL"), ("ddp", "no such row"), ("fsdp", "SIGKILL")])
def test_a_rank_that_dies_ends_the_run_with_its_error(parallel: str, how: str, tmp_path: Path) -> None:
    started = time.monotonic()
    assert run_on(2, tmp_path, [Job("arrays", parallel, "dies", {"epochs": 50}, dies=(1, 3, how))]) == 1
    assert time.monotonic() - started < MOST_S
    died = " was killed by SIGKILL" if how == "SIGKILL" else ": ValueError: no such row"
    assert (tmp_path / "told.txt").read_text(encoding="utf-8") == f"rank 1 of 2{died}; {CARRIES_ON}"
    assert not left_of(tmp_path)


@pytest.mark.parametrize(("parallel", "how"), [("ddp", "SIGKILL"), ("ddp", "no such row"), ("fsdp", "SIGKILL")])
def test_a_first_rank_that_dies_ends_the_others(
    parallel: str, how: str, tmp_path: Path
) -> None:  # fmt: skip
    job = Job("arrays", parallel, "dies", {"epochs": 50}, dies=(0, 3, how))
    started = time.monotonic()
    if how == "SIGKILL":  # it can say nothing, so the launcher does
        with pytest.raises(ModelyardError, match=f"^rank 0 of 2 was killed by SIGKILL; {CARRIES_ON}$"):
            run_on(2, tmp_path, [job])
    else:
        assert run_on(2, tmp_path, [job]) == 1
        assert (tmp_path / "told.txt").read_text(encoding="utf-8") == how
    assert time.monotonic() - started < MOST_S
    assert not left_of(tmp_path)


def left_of(folder: Path) -> list[psutil.Process]:
    """The processes of a launch in the folder that are still there."""
    return [process for process in psutil.process_iter(["cmdline"]) if str(folder) in (process.info["cmdline"] or [])]


def test_a_batch_that_does_not_divide_is_refused() -> None:
    _, _, section, settings = CASES["arrays"]
    two = Ranks()
    two.size = 2
    for batch_size, wanted in ((7, "6 or 8"), (1, "2")):
        params = section.model_validate(COMMON | settings | {"batch_size": batch_size}, strict=False)
        said = f"finetune.batch_size {batch_size} does not divide by 2 devices; set it to {wanted}, or devices to a nu"
        with pytest.raises(InputError, match=said):
            check_batch_size(params, two, stage="finetune")


def test_what_several_ranks_cannot_train_is_refused() -> None:
    model, players = nn.Sequential(nn.Linear(2, 2)), [Player(name, [], abs) for name in ("one", "two")]
    objective = Objective(players, lambda epoch, start: [], 1, lambda model: {}, "rows")
    check_can_be_divided(model, objective, is_sharded=False)
    with pytest.raises(
        InputError, match="shards a model with one loss, not with those of one and two; set it to 'ddp'"
    ):
        check_can_be_divided(model, objective, is_sharded=True)
    sparse = nn.Embedding(3, 2, sparse=True)
    with pytest.raises(InputError, match="sparse_embeddings is for one device: leave it out, or set devices to 1"):
        check_can_be_divided(sparse, objective, is_sharded=False)
    with pytest.raises(InputError, match="with several devices a step would not be that of the whole batch; set devic"):
        check_can_be_divided(model.append(nn.BatchNorm1d(2)), objective, is_sharded=False)


def test_a_launcher_must_start_what_the_recipe_says() -> None:
    with pytest.raises(InputError, match=r"devices is 4, but the launcher started 2 processes: let it start 4 "):
        check_number(2, Devices(count=4))
    check_number(4, Devices(count=4))
    check_number(2, None)


def test_half_of_what_a_launcher_leaves_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    assert launched() is None
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match=r"WORLD_SIZE is 2, as a launcher sets it, but RANK is None"):
        launched()


def test_more_devices_than_there_are_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"4096 devices are asked for, but this machine has \d+ cores and no GPU: set"):
        run_on(4096, tmp_path, [])
