import json
import re
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from components.estimate import memory, prediction, training
from components.estimate.prediction import foretold, predict
from components.estimate.recipe import Training, estimate_training
from components.estimate.rows import Counts, write_predictor, write_rows
from components.estimate.training import check_memory, one_step, told_if_too_large
from components.models.facts import Facts, read_facts
from components.models.storage import build
from components.objectives import OBJECTIVES, objective_of
from components.params import PretrainFromData, TrainFromLabels
from components.plumbing import memory as plumbing_memory
from components.plumbing.errors import InputError
from components.tracking.tracker import NullTracker
from components.training.loop import train
from components.training.plan import plan_of
from components.training.ranks import ALONE, Ranks
from tests.optimizers import optimizers_of

CPU = torch.device("cpu")
ADAMW = {"name": "adamw", "learning_rate": 1e-3, "weight_decay": 0.0, "betas": [0.9, 0.99]}
COMMON = {
    "mode": "train", "seed": 0, "epochs": 2, "steps_per_epoch": None, "batch_size": 8, "precision": "fp32",
    "optimizer": ADAMW, "schedule": {"name": "constant", "warmup_share": 0.0}, "clip": None, "early_stopping": None,
}  # fmt: skip
LANGUAGE = Facts(vocab_size=300, context=32)
GPT = {"family": "gpt", "hidden_size": 32, "num_layers": 2, "num_heads": 2, "dropout": 0.1}
CASES = {
    "gpt": ("text_generation", LANGUAGE, GPT, {"name": "causal"}),
    "lstm": (
        "text_generation",
        LANGUAGE,
        {"family": "lstm", "embedding_size": 16, "hidden_size": 32, "num_layers": 2, "dropout": 0.1},
        {"name": "causal"},
    ),
    "encoder": (
        "text_classification",
        Facts(num_labels=2, vocab_size=300, context=32),
        {
            "family": "encoder", "hidden_size": 32, "num_layers": 2, "num_heads": 2, "intermediate_size": 64,
            "dropout": 0.1,
        },
        {"name": "masked", "share": 0.15, "mean_span": 2.0},
    ),
    "gan": (
        "image_generation",
        Facts(num_labels=10, shape=(8, 8)),
        {
            "family": "gan", "latent_size": 8, "generator_sizes": [16], "discriminator_sizes": [16],
            "batch_norm": True, "dropout": 0.0,
        },
        {"name": "adversarial", "label_smoothing": 0.1, "max_shift": 1, "averaging": 0.99, "discriminator": ADAMW},
    ),
    "mlp": (
        "array_classification",
        Facts(num_labels=3, shape=(20,)),
        {"family": "mlp", "hidden_sizes": [16, 16], "activation": "relu", "batch_norm": True, "dropout": 0.1},
        None,
    ),
}  # fmt: skip


def case(name: str, **changed: Any) -> Any:
    """A family's task, facts and settings of its training."""
    task, facts, model, objective = CASES[name]
    section = COMMON | {"model": model} | changed
    if objective is None:
        section |= {"source": None, "augment": None, "class_weights": "none"}
        return task, facts, TrainFromLabels.model_validate(section, strict=False)
    return (
        task,
        facts,
        PretrainFromData.model_validate(section | {"source": None, "objective": objective}, strict=False),
    )


def made_rows(folder: Path, task: str, facts: Facts, *, num_train: int = 50) -> Any:
    write_predictor(folder / "predictor", task, facts)
    counts = Counts(num_train, 10, 0, facts.context)
    return counts, write_rows(folder / "rows", facts, counts, predictor=folder / "predictor")


@pytest.mark.parametrize("name", CASES)
def test_step_of_every_family_is_told_from_its_settings(name: str, tmp_path: Path) -> None:
    task, facts, params = case(name)
    counts, data = made_rows(tmp_path, task, facts)
    assert read_facts(data.predictor) == facts
    state = torch.get_rng_state()
    with one_step(
        params, facts, counts, network=lambda: build(params.model, facts), predictor=data.predictor, device=CPU
    ) as step:
        kept = step.objective.result(step.model)
    real = build(params.model, facts)
    torch.set_rng_state(state)
    assert sum(p.numel() for p in kept.parameters()) == sum(p.numel() for p in real.parameters())
    objective = OBJECTIVES[objective_of(params)]()(
        params,
        model=real,
        facts=facts,
        data=data,
        tracker=NullTracker(),
        device=CPU,
        precision="fp32",
    )
    assert step.num_steps_per_epoch == objective.num_steps_per_epoch
    trained = sum(p.numel() for player in objective.players for _, p in player.parameters)
    assert step.trace.gradient_bytes == 4 * trained
    assert step.trace.optimizer_bytes == pytest.approx(8 * trained, rel=0.02)
    assert step.trace.peak_bytes > 16 * trained
    assert sum(step.trace.flops.values()) > 0


def test_rows_that_are_too_many_to_make_up_stand_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "MAX_NUMBERS", 400)
    task, facts, params = case("mlp")
    counts, data = made_rows(tmp_path, task, facts, num_train=1000)
    with one_step(
        params, facts, counts, network=lambda: build(params.model, facts), predictor=data.predictor, device=CPU
    ) as step:
        assert step.num_steps_per_epoch == 125
        assert step.num_rows == 8


@pytest.mark.parametrize("name", ["mlp", "gpt"])
def test_batch_that_is_too_large_to_make_up_is_told_by_a_part_of_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, facts, params = case(name, batch_size="full")
    counts, data = made_rows(tmp_path, task, facts, num_train=960)
    steps = []
    for most in (training.MAX_NUMBERS, 960 * counts.length // 8 if counts.length else 960 * 20 // 8):
        monkeypatch.setattr(training, "MAX_NUMBERS", most)
        with one_step(
            params, facts, counts, network=lambda: build(params.model, facts), predictor=data.predictor, device=CPU
        ) as step:
            steps.append(step)
    whole, part = steps
    assert whole.times == 1
    assert part.num_rows == pytest.approx(whole.num_rows, rel=0.01)
    assert part.times == pytest.approx(8, rel=0.01)
    assert whole.num_steps_per_epoch == part.num_steps_per_epoch == 1
    assert part.trace.activation_bytes == pytest.approx(whole.trace.activation_bytes, rel=0.02)
    assert part.trace.peak_bytes == pytest.approx(whole.trace.peak_bytes, rel=0.05)
    assert part.trace.flops == pytest.approx(whole.trace.flops, rel=0.02)
    assert part.trace.optimizer_bytes == whole.trace.optimizer_bytes


def test_full_batch_of_any_number_of_rows_is_refused_without_making_it_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, facts, params = case("mlp", batch_size="full")
    _, data = made_rows(tmp_path, task, facts)
    monkeypatch.setattr(training, "counts_in", lambda data, facts: Counts(10**10, 10, 0, 0))
    monkeypatch.setattr(training, "MAX_NUMBERS", 100_000)
    with pytest.raises(InputError, match=r"nothing was trained. Lower finetune.batch_size \(full\)"):
        check_memory(params, facts, network=lambda: build(params.model, facts), data=data, stage="finetune")


class Looking(nn.Module):
    """A network whose forward depends on its numbers."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Any) -> Any:
        logits = self.network(*inputs)
        return logits * 2 if logits.sum().item() > 0 else logits


class Choosing(Looking):
    """A network whose shapes depend on its numbers."""

    def forward(self, *inputs: Any) -> Any:
        logits = self.network(*inputs)
        return logits + logits[logits > 0].sum()


@pytest.mark.parametrize("name", ["mlp", "gpt"])
@pytest.mark.parametrize("kind", [Looking, Choosing])
def test_network_that_needs_its_numbers_is_trained_unchecked(
    name: str, kind: type[nn.Module], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    task, facts, params = case(name)
    _, data = made_rows(tmp_path, task, facts)

    def network() -> Any:
        return kind(build(params.model, facts))

    assert check_memory(params, facts, network=network, data=data, stage="finetune") is None
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "the memory of this training cannot be told: " in record.getMessage()
    assert build(params.model, facts).training  # torch makes modules as before


@pytest.mark.parametrize("name", ["mlp", "gpt"])
@pytest.mark.parametrize(
    ("kind", "line"),
    [(Looking, r"return logits \* 2 if logits.sum\(\).item"), (Choosing, r"return logits \+ logits\[")],
)
def test_network_that_needs_its_numbers_cannot_be_estimated_and_the_error_says_where(
    name: str, kind: type[nn.Module], line: str, tmp_path: Path
) -> None:
    task, facts, params = case(name)
    counts, data = made_rows(tmp_path, task, facts)
    one = Training("pretrain", name, params, lambda: kind(build(params.model, facts)))
    message = rf"pretrain: the family '{name}' cannot be .* \(test_training.py, line \d+: {line}.*\. Write it with"
    with pytest.raises(InputError, match=message):
        estimate_training(one, facts, counts, predictor=data.predictor, device=CPU, budget_s=1.0)


def test_network_that_is_not_for_such_rows_is_refused_all_the_same(tmp_path: Path) -> None:
    task, facts, params = case("mlp")
    _, data = made_rows(tmp_path, task, facts)
    with pytest.raises(InputError, match="is no classifier of these rows"):
        check_memory(params, facts, network=lambda: nn.Linear(7, 3), data=data, stage="finetune")


@pytest.mark.parametrize("name", CASES)
def test_training_that_fits_is_let_through(name: str, tmp_path: Path) -> None:
    task, facts, params = case(name)
    _, data = made_rows(tmp_path, task, facts)
    state = torch.get_rng_state()
    found = check_memory(params, facts, network=lambda: build(params.model, facts), data=data, stage="pretrain")
    assert found is not None
    assert 0 < found.weights < found.peak
    assert torch.equal(torch.get_rng_state(), state)


def test_training_that_cannot_fit_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    huge = GPT | {"hidden_size": 65536, "num_heads": 64, "num_layers": 4}  # 206 billion parameters
    task, facts, params = case("gpt", model=huge)
    _, data = made_rows(tmp_path, task, facts)
    with pytest.raises(InputError) as caught:
        check_memory(params, facts, network=lambda: build(params.model, facts), data=data, stage="pretrain")
    said = str(caught.value)
    assert "pretrain needs about 3," in said  # TB: 16 bytes a parameter, and what clipping copies
    for words in (
        "weights 824.",
        "gradients 824.",
        "this machine has",
        "pretrain.batch_size (8)",
        "hidden_size (65536)",
    ):
        assert words in said


@pytest.mark.parametrize(
    ("name", "batch_size", "share", "settings"),
    [
        ("gpt", 40, 0.5, {"micro_batch_size": 10}),
        ("encoder", "full", 0.5, {"micro_batch_size": 16}),
        ("lstm", 8, 0.5, {"micro_batch_size": 2}),
        ("gpt", 1, 0.95, {"activation_checkpointing": True}),
        ("gpt", 2, 0.85, {"micro_batch_size": 1, "activation_checkpointing": True}),
    ],
)
def test_batch_that_cannot_fit_is_refused_with_settings_that_let_it(
    name: str,
    batch_size: int | str,
    share: float,
    settings: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task, facts, _ = case(name)
    _, data = made_rows(tmp_path, task, facts)

    def needed(**changed: Any) -> int:
        _, _, params = case(name, batch_size=batch_size, **changed)
        found = check_memory(params, facts, network=lambda: build(params.model, facts), data=data, stage="pretrain")
        assert found
        return found.peak

    free = round(share * needed())
    monkeypatch.setattr(training, "available_bytes", lambda device: free)
    with pytest.raises(InputError, match="nothing was trained") as caught:
        needed()
    said = re.search(
        r"Set (.*) \(the same steps in about [\d.]+ GB\), or lower pretrain.batch_size \((\w+)\)", str(caught.value)
    )
    assert said
    assert said[2] == str(batch_size)
    told = dict(setting.removeprefix("pretrain.").split(" to ") for setting in said[1].split(" and "))
    assert {key: json.loads(value) for key, value in told.items()} == settings
    assert needed(**settings) <= free


def test_parts_that_cannot_fit_are_what_is_to_be_lowered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task, facts, params = case("lstm", micro_batch_size=4)
    _, data = made_rows(tmp_path, task, facts)
    network = partial(build, params.model, facts)
    monkeypatch.setattr(training, "available_bytes", lambda device: 300_000)
    with pytest.raises(InputError, match=r"nothing was trained. Lower pretrain.micro_batch_size \(4\), preprocess"):
        check_memory(params, facts, network=network, data=data, stage="pretrain")


def test_a_step_in_parts_is_told_as_long_as_a_whole_one(tmp_path: Path) -> None:
    flops = []
    for number, changed in enumerate(({}, {"micro_batch_size": 2}, {"activation_checkpointing": True})):
        task, facts, params = case("gpt", **changed)
        counts, data = made_rows(tmp_path / str(number), task, facts)
        network = partial(build, params.model, facts)
        with one_step(params, facts, counts, network=network, predictor=data.predictor, device=CPU, usual=True) as step:
            flops.append(step.flops)
    assert flops[1] == flops[0]
    assert 1.2 * flops[0] < flops[2] < 4 / 3 * flops[0]  # the layers, but not the logits, a second time


def test_what_is_free_stays_within_the_group_of_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plumbing_memory, "GROUPS", tmp_path)
    free = memory.available_bytes(CPU)
    assert free > 1e8
    (tmp_path / "memory.current").write_text("900")
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available_bytes(CPU) > 1e8
    (tmp_path / "memory.max").write_text("1000\n")
    assert memory.available_bytes(CPU) == 100


def test_the_largest_step_is_told_and_no_rest_of_an_epoch(tmp_path: Path) -> None:
    task, facts, params = case("encoder", batch_size=8)
    network = partial(build, params.model, facts)
    peaks = []
    for num_train in (16, 18):  # of 18, one batch has two rows
        _, data = made_rows(tmp_path / str(num_train), task, facts, num_train=num_train)
        peaks.append(check_memory(params, facts, network=network, data=data, stage="pretrain").peak)
    assert peaks[0] == peaks[1]


class Logged(NullTracker):
    def __init__(self) -> None:
        self.values = {}

    def log_metrics(self, values: Mapping[str, float], *, step: int) -> None:
        self.values |= values


@pytest.mark.parametrize("name", ["gpt", "gan"])
def test_prediction_is_logged_beside_what_it_took_and_changes_no_weight(name: str, tmp_path: Path) -> None:
    task, facts, params = case(name)
    _, data = made_rows(tmp_path, task, facts)
    finals, logged = [], Logged()
    for number, is_told in enumerate((False, True)):
        torch.manual_seed(0)
        model = build(params.model, facts)
        objective = OBJECTIVES[objective_of(params)]()(
            params,
            model=model,
            facts=facts,
            data=data,
            tracker=NullTracker(),
            device=CPU,
            precision="fp32",
        )
        plan, trained = plan_of(params, objective, "fp32"), objective.model or model
        own = optimizers_of(params, objective)
        work = tmp_path / f"checkpoints{number}"
        if is_told:
            with foretold(trained, plan, objective, data=data, checkpoints=work, tracker=logged):
                train(trained, plan, objective, own, checkpoints=work, tracker=NullTracker(), title="x")
        else:
            train(trained, plan, objective, own, checkpoints=work, tracker=NullTracker(), title="x")
        finals.append(trained.state_dict())
    assert all(torch.equal(finals[0][key], finals[1][key]) for key in finals[0])
    assert logged.values.keys() >= {"predicted_s", "predicted_step_s", "actual_s", "predicted_over_actual"}
    assert logged.values["predicted_s"] > plan.num_steps * logged.values["predicted_step_s"]
    assert all(value > 0 for value in logged.values.values())
    again = Logged()
    with foretold(trained, plan, objective, data=data, checkpoints=work, tracker=again):
        pass
    assert again.values == {}  # it carries on from a checkpoint, and does only a part of the work


class TwoRanks(Ranks):
    """Two ranks, of which this is the first, on one device."""

    size = local_size = 2


def begun_with(kind: type[nn.Module], folder: Path) -> tuple[nn.Module, Any, Any, Any]:
    """A network of this kind around a perceptron, with its objective, plan and rows."""
    task, facts, params = case("mlp")
    _, data = made_rows(folder, task, facts)
    model = kind(build(params.model, facts))
    objective = OBJECTIVES[objective_of(params)]()(
        params, model=model, facts=facts, data=data, tracker=NullTracker(), device=CPU, precision="fp32"
    )
    return model, objective, plan_of(params, objective, "fp32"), data


@pytest.mark.parametrize(
    ("ranks", "said"),
    [
        (ALONE, "the time of this training cannot be told: "),
        (TwoRanks(), "the operations of a step cannot be counted: "),
    ],
)
def test_training_whose_time_cannot_be_told_goes_on_with_a_warning(
    ranks: Ranks, said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model, objective, plan, data = begun_with(Choosing, tmp_path)
    logged = Logged()
    with foretold(model, plan, objective, data=data, checkpoints=tmp_path / "c", tracker=logged, ranks=ranks) as told:
        assert told is None
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage().startswith(said)
    assert logged.values == {}


@pytest.mark.parametrize("ranks", [ALONE, TwoRanks()])
def test_fault_of_the_code_that_tells_the_time_is_not_hidden(
    ranks: Ranks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, objective, plan, data = begun_with(nn.Sequential, tmp_path)
    monkeypatch.setattr(prediction, "is_whole", lambda batch: batch.no_such_field)
    with (
        pytest.raises(AttributeError, match="no_such_field"),
        foretold(model, plan, objective, data=data, checkpoints=tmp_path / "c", tracker=Logged(), ranks=ranks),
    ):
        pass


def test_more_steps_take_longer(tmp_path: Path) -> None:
    task, facts, params = case("mlp")
    _, data = made_rows(tmp_path, task, facts)
    model = build(params.model, facts)
    objective = OBJECTIVES[objective_of(params)]()(
        params, model=model, facts=facts, data=data, tracker=NullTracker(), device=CPU, precision="fp32"
    )
    plan = plan_of(params, objective, "fp32")
    found = predict(model, plan, objective, data=data)
    assert found.seconds == pytest.approx(2 * found.epoch_s)
    assert found.epoch_s >= plan.num_steps_per_epoch * found.step_s > 0


def test_what_logging_takes_counts_too(tmp_path: Path) -> None:
    class Slow(Logged):
        def flush(self) -> None:
            time.sleep(0.2)

    task, facts, params = case("mlp")
    _, data = made_rows(tmp_path, task, facts)
    model = build(params.model, facts)
    objective = OBJECTIVES[objective_of(params)]()(
        params, model=model, facts=facts, data=data, tracker=NullTracker(), device=CPU, precision="fp32"
    )
    plan, slow = plan_of(params, objective, "fp32"), Slow()
    with foretold(model, plan, objective, data=data, checkpoints=tmp_path / "none", tracker=slow):
        pass
    assert slow.values["predicted_s"] > 0.2 * plan.num_epochs


@pytest.mark.parametrize("share", [2.0, 0.6, 0.01])
def test_a_gpu_that_runs_out_of_memory_says_the_estimate_and_what_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    task, facts, params = case("gpt", batch_size=8)
    _, data = made_rows(tmp_path, task, facts)
    given: dict[str, Any] = {"network": partial(build, params.model, facts), "data": data, "stage": "pretrain"}
    found = check_memory(params, facts, **given)
    assert found is not None
    had = round(share * found.peak)
    monkeypatch.setattr(training, "had_bytes", lambda _: had)
    with pytest.raises(InputError) as caught:
        with told_if_too_large(params, facts, found, **given):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")
    said = str(caught.value)
    assert said.startswith("pretrain ran out of memory on the GPU, though a step was estimated at about ")
    assert f"{found.peak / 1e9:,.1f} GB: it could have {had / 1e9:,.1f} GB of the card; " in said
    lower = "ower pretrain.batch_size (8), preprocess.context (32)"
    if share < 0.1:  # the weights alone are more
        assert f"meanwhile. L{lower}" in said
        return
    better = r"Set pretrain.micro_batch_size to (\d) \(the same steps in about .* GB\), or l"
    (size,) = re.findall(better + re.escape(lower), said)
    fits = check_memory(params.model_copy(update={"micro_batch_size": int(size)}), facts, **given)
    assert fits is not None
    assert fits.peak < min(had, found.peak)
