"""One training of a recipe before it starts: the work and memory of its step, found by running the objective's own code
on a made-up batch."""

import logging
import tempfile
import traceback
from bisect import bisect_right
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from math import prod
from pathlib import Path

import torch
from torch import nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    UnsupportedFakeTensorException,
)

from components.estimate.memory import GB, Memory, available_bytes, had_bytes, memory_of, refuse_what_cannot_fit
from components.estimate.prediction import Part, is_whole, typical_batches
from components.estimate.rows import Counts, text_lengths, write_rows
from components.estimate.trace import Trace, enlarged, fake_mode, made_in, trace_step
from components.models.facts import Facts
from components.objectives import OBJECTIVES, objective_of
from components.params import Adapt, Distillation, PretrainFromData, TrainFromLabels
from components.plumbing.errors import InputError, ModelyardError
from components.tracking.tracker import NullTracker
from components.training.objective import Data, Objective
from components.training.precision import Precision, choose_precision
from components.training.ranks import ALONE, Ranks
from components.training.recomputing import recompute_activations
from components.training.splits import count_rows, count_values

TrainingSection = PretrainFromData | TrainFromLabels | Adapt | Distillation
"""A section of params.yaml that says how something is trained."""
MAX_NUMBERS = 10_000_000
"""The most numbers in the made-up rows: enough for nearly every batch, and made in a second."""
SPARED = 0.9
"""The share of the free memory that a proposed setting may take, since what is free changes from moment to moment."""
NUM_LOOKED_AT = 8
"""The batches of which the largest is looked at: more than those of two that memory is told from."""
NEEDS_NUMBERS = (DataDependentOutputException, DynamicOutputShapeException, UnsupportedFakeTensorException)
"""The errors that torch raises for a network that looks at the numbers of its tensors, which here have none."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Step:
    """A step of a training, and the objective that takes it."""

    model: nn.Module
    """The model, without numbers."""
    objective: Objective
    parts: tuple[Part, ...]
    """The kinds of the training's steps, where `usual` ones were asked for; else the largest alone."""
    num_rows: float
    """The rows of a batch, as the recipe makes it."""
    num_units: float
    """Its tokens without padding, or its rows, as the objective counts."""
    batch_s: float
    """The seconds of making one."""
    times: float
    """The number of batches like `batch` in one of the recipe: 1, or more where a whole one would be too large to make
    up."""
    num_steps_per_epoch: int
    trace: Trace
    """The trace of the step that takes the most."""

    @property
    def flops(self) -> float:
        """The operations of the mean step."""
        return sum(part.share * sum(part.trace.flops.values()) for part in self.parts)


def check_memory(
    params: TrainingSection, facts: Facts, *, network: Callable[[], nn.Module], data: Data, stage: str,
    device: torch.device | None = None, ranks: Ranks = ALONE,
) -> Memory | None:  # fmt: skip
    """Return the memory that the training needs, before anything of it is made.

    Raises InputError where it exceeds the free memory. Where the step cannot be traced without its numbers, it returns
    None with a warning, since that is no reason not to train.

    `network` makes the network that the training starts from; it is called where tensors have no numbers, so that
    nothing is allocated. `data` is what preprocess left, of which only sizes are read. Nothing is drawn from torch's
    random state. Of several ranks, each holds its rows of a batch and, where they are sharded, its part of the weights.
    """
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    params, needed, num_rows = memory_by_settings(params, facts, network=network, data=data, device=device, ranks=ranks)
    try:
        memory = needed(params)
    except (ModelyardError, *NEEDS_NUMBERS, NotImplementedError) as error:  # the last: an operation without a fake form
        if isinstance(error, ModelyardError) and numbers_needed(error) is None:
            raise
        logger.warning("the memory of this training cannot be told: %s: %s", type(error).__name__, error)
        return None
    free = available_bytes(device)
    if device.type == "cpu":
        free //= ranks.local_size  # which share it
    smaller = partial(smaller_steps, params, needed, stage=stage, free=free, num_rows=num_rows, memory=memory)
    lower = lowered(params, facts, stage)
    refuse_what_cannot_fit(memory, free=free, device=device, stage=stage, lower=lower, smaller=smaller)
    return memory


def of_a_rank(params: TrainingSection, num_rows: int, *, ranks: Ranks) -> TrainingSection:
    """Return the settings of a training on the rows that one of several ranks has of a batch of `num_rows`."""
    own = -(-num_rows // ranks.size)
    micro = params.micro_batch_size
    return params.model_copy(update={"batch_size": own, "micro_batch_size": micro if micro and micro < own else None})


def memory_by_settings(
    params: TrainingSection,
    facts: Facts,
    *,
    network: Callable[[], nn.Module],
    data: Data,
    device: torch.device,
    ranks: Ranks,
) -> tuple[TrainingSection, Callable[[TrainingSection], Memory], int]:
    """Return the settings of one rank, a function that tells its memory by them, and its number of rows of a batch."""
    counts = counts_in(data, facts)
    if params.batch_size != "full":  # more rows than fill a batch would not make it larger
        counts = replace(counts, num_train=min(counts.num_train, 2 * params.batch_size + 2), num_unlabelled=0)
    if ranks.size > 1:
        params = of_a_rank(params, rows_of_a_batch(counts, params), ranks=ranks)

    def needed(params: TrainingSection) -> Memory:
        with one_step(params, facts, counts, network=network, predictor=data.predictor, device=device) as step:
            return memory_of(step.trace).of_a_rank(ranks)

    return params, needed, rows_of_a_batch(counts, params)


@contextmanager
def told_if_too_large(
    params: TrainingSection, facts: Facts, memory: Memory | None, *, network: Callable[[], nn.Module], data: Data,
    stage: str, ranks: Ranks = ALONE,
) -> Generator[None]:  # fmt: skip
    """Raise InputError where a GPU runs out of memory in this block, though `memory`, the estimate, fitted into it.

    The settings that it names take less than the estimate, and less than what this process could have of the card.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        had, better = had_bytes(device), ""
        told = f"about {memory.peak / GB:,.1f} GB" if memory else "not known"
        settings = ", ".join(f"{name} ({value})" for name, value in lowered(params, facts, stage).items())
        if memory is not None:
            with suppress(ModelyardError, *NEEDS_NUMBERS, RuntimeError):  # the words below help without it, too
                own, needed, num_rows = memory_by_settings(
                    params, facts, network=network, data=data, device=device, ranks=ranks
                )
                limit = min(had, memory.peak)
                better = smaller_steps(own, needed, stage=stage, free=limit, num_rows=num_rows, memory=memory)
        raise InputError(
            f"{stage} ran out of memory on the GPU, though a step was estimated at {told}: it could have "
            f"{had / GB:,.1f} GB of the card; other work may have taken some of it meanwhile. "
            f"{f'{better}, or lower' if better else 'Lower'} {settings}"
        ) from error


def smaller_steps(
    params: TrainingSection,
    needed: Callable[[TrainingSection], Memory],
    *,
    stage: str,
    free: int,
    num_rows: int,
    memory: Memory,
) -> str:
    """Return in words the settings with which the same steps fit into the free memory; empty where none do.

    Parts of a batch come first, the largest that fit, since they cost hardly any time; activation checkpointing costs
    about a third.
    """
    limit = SPARED * free
    if memory.weights + memory.optimizer > limit:
        return ""
    now = params.micro_batch_size or num_rows
    sizes = sizes_of_parts(params, now)
    for recomputes in dict.fromkeys((params.activation_checkpointing, True)):
        is_new = recomputes and not params.activation_checkpointing
        kept: dict[int, Memory] = {}

        def peak(size: int, recomputes: bool = recomputes, kept: dict[int, Memory] = kept) -> int:
            changed = {"micro_batch_size": size, "activation_checkpointing": recomputes}
            kept[size] = needed(params.model_copy(update=changed))
            return kept[size].peak

        tried = [*sizes, now] if is_new else sizes
        try:
            found = bisect_right(tried, limit, key=peak)
        except ModelyardError:  # batch norm, or a network that keeps its activations
            continue
        if found:
            size = tried[found - 1]
            told = [f"{stage}.micro_batch_size to {size}"] * (size != now) + [
                f"{stage}.activation_checkpointing to true"
            ] * is_new
            return f"Set {' and '.join(told)} (the same steps in about {kept[size].peak / GB:,.1f} GB)"
    return ""


def sizes_of_parts(params: TrainingSection, num_rows: int) -> list[int]:
    """Return the sizes of the parts in which a batch may be computed, the smallest first; of a batch of all rows, whose
    number changes with the data, the powers of two."""
    if params.batch_size == "full":
        return [1 << n for n in range(num_rows.bit_length()) if 1 << n < num_rows]
    return [n for n in range(1, num_rows) if params.batch_size % n == 0]


def numbers_needed(error: BaseException) -> str | None:
    """Return where a network looked at the numbers of its tensors, which have none here, and what it asked of them;
    None where the error has another cause."""
    cause = error if isinstance(error, NEEDS_NUMBERS) else error.__cause__
    if not isinstance(cause, NEEDS_NUMBERS):
        return None
    frames = traceback.extract_tb(cause.__traceback__)
    written = [frame for frame in frames if "torch" not in Path(frame.filename).parts]  # not in a library's own code
    last = (written or frames)[-1]
    return f"{Path(last.filename).name}, line {last.lineno}: {last.line} ({cause})"


def counts_in(data: Data, facts: Facts) -> Counts:
    """Count the rows that preprocess left, with the tokens of the longest text."""
    count = partial(count_values, column="input_ids") if facts.reads_windows else count_rows
    train, validation, unlabelled = (
        count(path) if path else 0 for path in (data.train, data.validation, data.unlabelled)
    )
    if facts.reads_windows:
        train, validation = train // facts.context + 1, validation // facts.context + 1
        return Counts(train, validation, unlabelled, facts.context)
    length = facts.context
    if length:
        length = min(
            length, max(int(text_lengths(path).max(initial=1)) for path in (data.train, data.unlabelled) if path)
        )
    return Counts(train, validation, unlabelled, length)


def lowered(params: TrainingSection, facts: Facts, stage: str) -> dict[str, object]:
    """Return the settings that the memory depends on, with their values."""
    told: dict[str, object] = {f"{stage}.batch_size": params.batch_size}
    if params.micro_batch_size:
        told = {f"{stage}.micro_batch_size": params.micro_batch_size}
    if facts.context:
        told["preprocess.max_tokens" if facts.num_labels else "preprocess.context"] = facts.context
    if isinstance(params, Adapt):
        return told | {f"{stage}.way": params.way.name}
    if isinstance(params, Distillation):
        return told
    sizes = params.model.model_dump(mode="json").items()
    return told | {f"{stage}.model.{name}": value for name, value in sizes if "size" in name or name == "num_layers"}


@contextmanager
def one_step(
    params: TrainingSection, facts: Facts, counts: Counts, *, network: Callable[[], nn.Module], predictor: Path,
    device: torch.device, precision: Precision | None = None, usual: bool = False,
) -> Generator[Step]:  # fmt: skip
    """Make a step on as many made-up rows as the recipe has, for the block; the model and the step take no memory.

    It is the largest of the training's steps, or with `usual` those of middling batches.

    A batch of more than MAX_NUMBERS is estimated from a part of it and half of that part, since the cost of a step
    grows with its rows.
    """
    if precision is None:
        precision = choose_precision(params.precision, device=device)[0]
    rows = rows_of_a_batch(counts, params)
    most = max(4, MAX_NUMBERS // numbers_of_a_row(counts, facts))  # batch norm needs two rows in a half
    looked = partial(
        step_of, facts=facts, counts=counts, network=network, predictor=predictor, device=device, precision=precision,
        usual=usual,
    )  # fmt: skip
    if rows <= most:
        with looked(params, batch_size=rows) as step:
            yield step
        return
    part = most // 2 * 2
    with looked(params.model_copy(update={"batch_size": part // 2}), batch_size=part // 2) as half:
        pass
    with looked(params.model_copy(update={"batch_size": part}), batch_size=part) as step:
        times = rows / part
        num_steps = params.steps_per_epoch or max(1, round(step.num_steps_per_epoch / times))
        trace = enlarged(step.trace, times, half=half.trace)
        yield replace(
            step, times=times, num_steps_per_epoch=num_steps, trace=trace, parts=(Part(1.0, trace),), num_rows=rows,
            num_units=step.num_units * times,
        )  # fmt: skip


@contextmanager
def step_of(
    params: TrainingSection, *, facts: Facts, counts: Counts, batch_size: int, network: Callable[[], nn.Module],
    predictor: Path, device: torch.device, precision: Precision, usual: bool,
) -> Generator[Step]:  # fmt: skip
    """Make a step on a batch that is made up whole, of `batch_size` rows, for the block."""
    written = fewer(counts, facts, batch_size=batch_size)
    mode = fake_mode()
    with tempfile.TemporaryDirectory(prefix="modelyard-estimate-") as folder, torch.random.fork_rng(devices=[]):
        data = write_rows(Path(folder), facts, written, predictor=predictor)
        with made_in(mode, device):
            model = network().to(device)
            if params.activation_checkpointing:
                recompute_activations(model, stage="pretrain" if isinstance(params, PretrainFromData) else "finetune")
            objective = OBJECTIVES[objective_of(params)]()(
                params, model=model, facts=facts, data=data, tracker=NullTracker(),
                device=device, precision=precision,
            )  # fmt: skip
        trained = objective.model or model
        traced = partial(
            trace_step, trained, objective, [params.optimizer_of(player.name) for player in objective.players],
            clip=params.clip, precision=precision, mode=mode, micro_batch_size=params.micro_batch_size,
        )  # fmt: skip
        typical, batch_s = typical_batches(objective)
        num_rows = sum(len(batch.row) * share for batch, share in typical)
        num_units = sum(batch.num_units * share for batch, share in typical)
        if usual:
            parts = tuple(Part(share, traced(batch=batch, is_whole=is_whole(batch))) for batch, share in typical)
        else:  # not the last of an epoch, which may be small, and with a mask, which takes more
            first = islice(objective.batches(0, 0), NUM_LOOKED_AT)
            parts = (Part(1.0, traced(batch=max(first, key=lambda batch: (len(batch.row), batch.num_units)))),)
        trace = max((part.trace for part in parts), key=lambda trace: trace.peak_bytes)
        scale = (counts.num_train + counts.num_unlabelled) / max(1, written.num_train + written.num_unlabelled)
        num_steps = params.steps_per_epoch or max(1, round(objective.num_steps_per_epoch * scale))
        yield Step(trained, objective, parts, num_rows, num_units, batch_s, 1, num_steps, trace)


def rows_of_a_batch(counts: Counts, params: TrainingSection) -> int:
    """Return the number of rows of a batch, which `batch_size` may give as `full`."""
    num_rows = max(1, counts.num_train + counts.num_unlabelled)
    return num_rows if params.batch_size == "full" else min(params.batch_size, num_rows)


def numbers_of_a_row(counts: Counts, facts: Facts) -> int:
    return prod(facts.shape) if facts.shape else max(1, round(counts.mean_length))


def fewer(counts: Counts, facts: Facts, *, batch_size: int) -> Counts:
    """Return the rows to make up: all, or as many as stand for them, with a whole batch among them."""
    wanted = counts.num_train + counts.num_unlabelled
    numbers = numbers_of_a_row(counts, facts)
    most = max(MAX_NUMBERS // numbers // batch_size, 2) * batch_size  # whole batches, so that steps go by the rows
    if wanted <= most:
        return replace(counts, num_validation=max(1, min(counts.num_validation, 2)))
    share = most / wanted
    return replace(
        counts,
        num_train=max(1, round(counts.num_train * share)),
        num_validation=max(1, min(counts.num_validation, 2)),
        num_unlabelled=round(counts.num_unlabelled * share),
    )
