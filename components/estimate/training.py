"""One training of a recipe, before it starts: what its step does, by the objective's own code on a made-up batch."""

import importlib
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import pyarrow.parquet as pq
import torch
from torch import nn

from components.artifacts import read_json
from components.estimate.memory import Memory, available_bytes, memory_of, refuse_what_cannot_fit
from components.estimate.rows import Counts, num_tokens, write_rows
from components.estimate.trace import Trace, fake_mode, made_in, trace_step
from components.models.facts import PREDICTOR, Facts
from components.params import Adapt, PretrainFromData, TrainFromLabels
from components.tracking import NullTracker
from components.training.objective import Data, Objective
from components.training.precision import Precision, choose_precision

Trained = PretrainFromData | TrainFromLabels | Adapt
MAX_NUMBERS = 10_000_000
"""Of the made-up rows: enough for every batch of a machine, and made in a second."""


@dataclass(frozen=True)
class Step:
    """A step of a training, and the objective that takes it."""

    model: nn.Module
    """Without numbers."""
    objective: Objective
    batch: object
    num_steps_per_epoch: int
    trace: Trace


def check_memory(
    params: Trained, facts: Facts, *, network: Callable[[], nn.Module], data: Data, stage: str,
    device: torch.device | None = None,
) -> Memory:  # fmt: skip
    """What the training needs, before anything of it is made. InputError where that is more than is free.

    `network` makes the network that the training starts from; it is called where tensors have no numbers, so that
    nothing is allocated. `data` is what preprocess left, of which only sizes are read. Draws nothing from torch's
    random state.
    """
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    counts = counts_in(data, facts)
    if params.batch_size != "full":  # more rows than fill a batch would not make it larger
        counts = replace(counts, num_train=min(counts.num_train, 2 * params.batch_size + 2), num_unlabelled=0)
    with one_step(params, facts, counts, network=network, predictor=data.predictor, device=device) as step:
        memory = memory_of(step.trace)
    lower = lowered(params, facts, stage)
    refuse_what_cannot_fit(memory, free=available_bytes(device), device=device, stage=stage, lower=lower)
    return memory


def counts_in(data: Data, facts: Facts) -> Counts:
    """The rows of what preprocess left, each text taken for as long as it may be."""
    generates = read_json(data.predictor / PREDICTOR)["task"] == "text_generation"
    count = num_tokens if generates else lambda path: pq.read_metadata(path).num_rows
    train, validation, unlabelled = (
        count(path) if path else 0 for path in (data.train, data.validation, data.unlabelled)
    )
    if generates:  # documents are read in windows of one context, wherever one ends
        train, validation = train // facts.context + 1, validation // facts.context + 1
    return Counts(train, validation, unlabelled, facts.context)


def lowered(params: Trained, facts: Facts, stage: str) -> dict[str, object]:
    """The settings that the memory hangs on, as they are."""
    told: dict[str, object] = {f"{stage}.batch_size": params.batch_size}
    if facts.context:
        told["preprocess.max_tokens" if facts.num_labels else "preprocess.context"] = facts.context
    if isinstance(params, Adapt):
        return told | {f"{stage}.way": params.way.name}
    sizes = params.model.model_dump(mode="json").items()
    return told | {f"{stage}.model.{name}": value for name, value in sizes if "size" in name or name == "num_layers"}


@contextmanager
def one_step(
    params: Trained, facts: Facts, counts: Counts, *, network: Callable[[], nn.Module], predictor: Path,
    device: torch.device, precision: Precision | None = None,
) -> Generator[Step]:  # fmt: skip
    """A step on as many made-up rows as the recipe has; the model and the step take no memory."""
    if precision is None:
        precision = choose_precision(params.precision, device=device)[0]
    written = fewer(counts, params, facts)
    mode = fake_mode()
    with tempfile.TemporaryDirectory(prefix="modelyard-estimate-") as folder, torch.random.fork_rng(devices=[]):
        data = write_rows(Path(folder), facts, written, predictor=predictor)
        with made_in(mode, device):
            model = network().to(device)
            objective: Objective = importlib.import_module(f"components.training.{objective_of(params)}").prepare(
                params, model=model, facts=facts, data=data, tracker=NullTracker(), device=device, precision=precision
            )
        batch = next(iter(objective.batches(0, 0)))
        trained = objective.model or model
        trace = trace_step(trained, objective, batch=batch, clip=params.clip, precision=precision, mode=mode)
        scale = (counts.num_train + counts.num_unlabelled) / max(1, written.num_train + written.num_unlabelled)
        num_steps = params.steps_per_epoch or max(1, round(objective.num_steps_per_epoch * scale))
        yield Step(trained, objective, batch, num_steps, trace)


def objective_of(params: Trained) -> str:
    """The module of components.training that trains it."""
    return params.objective.name if isinstance(params, PretrainFromData) else "classification"


def fewer(counts: Counts, params: Trained, facts: Facts) -> Counts:
    """The rows to make up: all, or as many as stand for them, with a batch of the full size among them."""
    numbers = prod(facts.shape) if facts.shape else max(1, counts.length)
    wanted = counts.num_train + counts.num_unlabelled
    batch = wanted if params.batch_size == "full" else params.batch_size
    most = max(MAX_NUMBERS // numbers // batch, 2) * batch  # whole batches, so that steps go by the rows
    if wanted <= most:
        return replace(counts, num_validation=max(1, min(counts.num_validation, 2)))
    share = most / wanted
    return Counts(
        num_train=max(1, round(counts.num_train * share)),
        num_validation=max(1, min(counts.num_validation, 2)),
        num_unlabelled=round(counts.num_unlabelled * share),
        length=counts.length,
    )
