"""The time that a training will take, predicted from a few seconds of its own operations, and how long it took in the
end."""

import logging
import time
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import nn

from components.estimate.replay import Timing, time_operations
from components.estimate.trace import Operation, Phase, Trace, fake_mode, trace_step
from components.models.facts import read_facts
from components.objectives.causal import MAX_VALIDATION_WINDOWS
from components.plumbing.artifacts import read_json, write_json
from components.plumbing.errors import ModelyardError
from components.tracking.tracker import SEND_EVERY_S, Tracker
from components.training.checkpoint import has_checkpoint, last_position
from components.training.loop import POINTS_OF_A_CURVE
from components.training.objective import Batch, Data, Objective
from components.training.plan import Plan
from components.training.precision import matrix_rate
from components.training.ranks import ALONE, Ranks
from components.training.splits import count_rows, count_values
from components.training.utilisation import Utilisation

logger = logging.getLogger(__name__)

BUDGET_S = 2.5
SAMPLED_BATCHES = 64
SAMPLED_S = 0.2
SAVED_BYTES_PER_S = 5e8
"""The bytes per second at which a checkpoint is taken to be written to a plain disk."""

UTILISATION = "utilisation.json"
"""The file, beside the checkpoints, with what the training's share of the machine's limit is told by."""


@dataclass(frozen=True)
class Part:
    """A kind of steps of a training."""

    share: float
    """The share of the steps that are of this kind."""
    trace: Trace


def together(parts: Sequence[Part]) -> dict[Phase, Counter[Operation]]:
    """Return the operations of the mean step, of which each may run a broken number of times."""
    found: dict[Phase, Counter[Operation]] = {}
    for part in parts:
        for phase, operations in part.trace.operations.items():
            counts = found.setdefault(phase, Counter())
            for operation, count in operations.items():
                counts[operation] += count * part.share  # pyright: ignore[reportArgumentType]
    return found


@dataclass(frozen=True)
class Prediction:
    """The predicted seconds of a training."""

    timing: Timing
    batch_s: float
    """The seconds of making one batch."""
    num_steps_per_epoch: int
    num_epochs: int
    validation_share: float
    """The batches of an epoch's validation, as a share of its steps; each is a forward pass."""
    flops_per_unit: float = 0.0
    """The operations of a step for each of its tokens or rows, where it was told from a training's own batches."""

    @property
    def step_s(self) -> float:
        return self.timing.step_s + self.batch_s

    @property
    def epoch_s(self) -> float:
        validation_s = self.validation_share * self.timing.seconds["forward"]
        return self.num_steps_per_epoch * (self.step_s + validation_s)

    @property
    def seconds(self) -> float:
        """The seconds of all epochs; early stopping may end before."""
        return self.num_epochs * self.epoch_s


def predict_parts(
    parts: Sequence[Part], *, num_steps_per_epoch: int, num_epochs: int, batch_s: float, validation_share: float,
    device: torch.device, budget_s: float = BUDGET_S,
) -> Prediction:  # fmt: skip
    """Predict the time of a training from the traces of its kinds of steps."""
    timing = time_operations(together(parts), device=device, budget_s=budget_s)
    return Prediction(timing, batch_s, num_steps_per_epoch, num_epochs, validation_share)


def predict(model: nn.Module, plan: Plan, objective: Objective, *, data: Data | None = None) -> Prediction:
    """Predict how long `train` will take on this machine, in at most about 3 seconds; `model` and torch's
    random state stay as they are.

    The steps are those of batches of middling size, since batches of texts differ in length. With `data`, the passes
    over the validation split count too.
    """
    started = time.perf_counter()
    device = next(model.parameters()).device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        typical, batch_s = typical_batches(objective)
        parts = parts_of(typical, model, plan, objective)
        num_rows = sum(len(batch.row) * share for batch, share in typical)
        share = validation_rows(data) / num_rows / plan.num_steps_per_epoch if data else 0.0
        told = predict_parts(
            parts,
            num_steps_per_epoch=plan.num_steps_per_epoch,
            num_epochs=plan.num_epochs,
            batch_s=batch_s,
            validation_share=share * plan.num_looks_per_epoch,
            device=device,
            budget_s=max(0.5, BUDGET_S - (time.perf_counter() - started)),
        )
        return replace(told, flops_per_unit=flops_per_unit(parts, typical))


def parts_of(typical: Sequence[tuple[Batch, float]], model: nn.Module, plan: Plan, objective: Objective) -> list[Part]:
    """Trace a step on each of some batches, which come with the share of their kind."""
    return [
        Part(share, trace_step(
            model, objective, plan.optimizers, batch=batch, clip=plan.clip, precision=plan.precision, mode=fake_mode(),
            is_whole=is_whole(batch), micro_batch_size=plan.micro_batch_size,
        ))
        for batch, share in typical
    ]  # fmt: skip


def flops_of_a_unit(model: nn.Module, plan: Plan, objective: Objective) -> float:
    """Return the operations of a training's steps for each of their tokens or rows; `model` and torch's random state
    stay as they are."""
    device = next(model.parameters()).device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        typical, _ = typical_batches(objective)
        return flops_per_unit(parts_of(typical, model, plan, objective), typical)


def flops_per_unit(parts: Sequence[Part], typical: Sequence[tuple[Batch, float]]) -> float:
    """Return the operations of the steps on typical batches, for each of their tokens or rows."""
    flops = sum(part.share * sum(part.trace.flops.values()) for part in parts)
    return flops / sum(share * batch.num_units for batch, share in typical)


def typical_batches(objective: Objective) -> tuple[list[tuple[Batch, float]], float]:
    """Return, of an epoch's first batches, those whose size is nearest to the mean of their kind, with the share of
    each kind, and the seconds of making one.

    There are two kinds of texts: those of one length, and those of several, which are padded. Attention without padding
    takes about half of the time.
    """
    batches: Iterator[Batch] = iter(objective.batches(0, 0))
    taken = [next(batches)]
    started = time.thread_time()  # what the first one brings with it comes once an epoch
    for batch in batches:
        taken.append(batch)
        if len(taken) == SAMPLED_BATCHES or time.thread_time() - started > SAMPLED_S:
            break
    batch_s = (time.thread_time() - started) / max(1, len(taken) - 1)
    kinds = [[batch for batch in taken if is_whole(batch) is whole] for whole in (True, False)]
    return [(nearest_to_mean(kind), len(kind) / len(taken)) for kind in kinds if kind], batch_s


def nearest_to_mean(batches: Sequence[Batch]) -> Batch:
    mean = sum(batch.num_units for batch in batches) / len(batches)
    return min(batches, key=lambda batch: abs(batch.num_units - mean))


def is_whole(batch: object) -> bool:
    """Return whether no row of a batch is padded."""
    mask = getattr(batch, "attention_mask", None)
    return mask is None or bool(mask.all())


@contextmanager
def foretold(
    model: nn.Module, plan: Plan, objective: Objective, *, data: Data, checkpoints: Path, tracker: Tracker,
    ranks: Ranks = ALONE,
) -> Generator[Utilisation | None]:  # fmt: skip
    """Log how long the training in this block will take, and then how long it took, as `predicted_s` and `actual_s`;
    yield what is needed to tell its share of the machine's limit, None where that is not known.

    A training that carries on from a checkpoint does only a part of it, and on several devices the time between them is
    not known; then nothing is told. A prediction that fails is no reason not to train.
    """
    if ranks.size > 1:
        yield utilisation_of_ranks(model, plan, objective, ranks=ranks)
        return
    if has_checkpoint(checkpoints):
        yield kept_utilisation(checkpoints)
        return
    try:
        found = predict(model, plan, objective, data=data)
    except (ModelyardError, RuntimeError, NotImplementedError) as error:  # torch's are of the second kind
        logger.warning("the time of this training cannot be told: %s: %s", type(error).__name__, error)
        yield None
        return
    tracker.log_metrics({"predicted_step_s": found.step_s}, step=0)
    beside_s = logging_s(found, tracker) + saving_s(model)
    predicted_s = found.seconds + plan.num_epochs * beside_s
    logger.info("about %.0f s: %d steps of %.3g s on this machine", predicted_s, plan.num_steps, found.step_s)
    tracker.log_metrics({"predicted_s": predicted_s}, step=0)
    utilisation = measured_utilisation(found, plan, checkpoints, device=next(model.parameters()).device)
    started = time.perf_counter()
    yield utilisation
    actual_s = time.perf_counter() - started
    predicted_s = (found.epoch_s + beside_s) * epochs_done(checkpoints, plan)
    tracker.log_metrics({"actual_s": actual_s, "predicted_over_actual": predicted_s / actual_s}, step=0)
    logger.info("took %.0f s; for the epochs that ran, %.0f s were predicted", actual_s, predicted_s)


def measured_utilisation(
    found: Prediction, plan: Plan, checkpoints: Path, *, device: torch.device
) -> Utilisation | None:
    """Measure what the machine can do, and note it for when the training carries on; None where no operation of the
    step is one that counts."""
    if not found.flops_per_unit:
        return None
    utilisation = Utilisation(found.flops_per_unit, matrix_rate(plan.precision, device=device))
    write_json(checkpoints / UTILISATION, asdict(utilisation))
    return utilisation


def utilisation_of_ranks(
    model: nn.Module, plan: Plan, objective: Objective, *, ranks: Ranks
) -> Utilisation | None:  # fmt: skip
    """Return what the share of all devices' limit is told by; None where it cannot be told, and on other ranks than the
    first."""
    limit = matrix_rate(plan.precision, device=ranks.device)  # by all at once, as in a step
    if not ranks.is_first or ranks.birthplace != ranks.device:  # a step of parts on two devices cannot be traced
        return None
    try:
        flops = flops_of_a_unit(model, plan, objective)
    except (ModelyardError, RuntimeError, NotImplementedError) as error:  # torch's are of the second kind
        logger.warning("the operations of a step cannot be counted: %s: %s", type(error).__name__, error)
        return None
    return Utilisation(flops, ranks.size * limit) if flops else None


def kept_utilisation(checkpoints: Path) -> Utilisation | None:
    """Return what was noted when the training began."""
    path = checkpoints / UTILISATION
    return Utilisation(**read_json(path)) if path.is_file() else None


def logging_s(found: Prediction, tracker: Tracker) -> float:
    """Return the seconds that the points of an epoch's curves take to send, from one that is sent."""
    started = time.perf_counter()
    tracker.log_metrics({"predicted_epoch_s": found.epoch_s, **found.timing.metrics()}, step=0)
    tracker.flush()
    num_points = min(POINTS_OF_A_CURVE / found.num_epochs, found.num_steps_per_epoch)
    return (time.perf_counter() - started) * (min(num_points, found.epoch_s / SEND_EVERY_S) + 1)  # one at the look


def saving_s(model: nn.Module) -> float:
    """Return the seconds that an epoch's checkpoint takes: the weights with Adam's state."""
    num_bytes = sum(p.numel() * p.element_size() for p in model.parameters())
    return 3 * num_bytes / SAVED_BYTES_PER_S


def epochs_done(checkpoints: Path, plan: Plan) -> float:
    """Return the number of epochs that ran, broken where early stopping ended within one."""
    last = last_position(checkpoints)
    return last.history[-1]["epoch"] if last else plan.num_epochs


def validation_rows(data: Data) -> int:
    """Return the number of rows of the validation split, or windows of its documents, that
    are measured after an epoch."""
    facts = read_facts(data.predictor)
    if facts.reads_windows:
        return min(MAX_VALIDATION_WINDOWS, count_values(data.validation, "input_ids") // facts.context)
    return count_rows(data.validation)
