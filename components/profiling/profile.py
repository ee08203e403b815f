"""The profile of one training: its time by phase and by operation, and its operations per second beside the limit."""

import logging
from dataclasses import dataclass
from pathlib import Path

import torch

from components.estimate.prediction import flops_of_a_unit
from components.fitting import Training, begin
from components.plumbing.artifacts import replacing
from components.plumbing.errors import InputError, ModelyardError
from components.profiling.reading import Operation, read
from components.profiling.steps import NUM_WARM_UP, num_possible, watched_steps
from components.profiling.verdict import verdict
from components.tracking.tracker import Tracker
from components.training.precision import matrix_rate

NUM_OPERATIONS = 10
LIMIT_BUDGET_S = 0.5

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Profile:
    """The profile of a training's steps: their times, and the shares of phases and operations."""

    title: str
    device: str
    precision: str
    num_threads: int
    num_steps: int
    """The number of steps that were timed; as many were recorded after them."""
    step_s: float
    """The seconds of a timed step, without the profiler."""
    recorded_step_s: float
    """The seconds of a recorded step, with what the profiler adds."""
    unit: str
    units_per_s: float
    """The tokens or rows per second of the timed steps."""
    shares: dict[str, float]
    """The share of the recorded steps' time in each phase, and in none of them (`other`)."""
    operations: tuple[Operation, ...]
    """The dearest operations, each without those that it calls."""
    flops_per_s: float | None
    """The operations per second of the timed steps' products; None where they cannot be counted."""
    limit_flops_per_s: float
    """The most of them, as measured in a product of large matrices before and after the steps."""
    mfu: float | None
    """The share of this limit that the timed steps reach."""
    verdict: str
    trace: str
    """The path of the trace, which Perfetto and TensorBoard open."""


def profile(training: Training, *, num_steps: int, trace: Path, tracker: Tracker) -> Profile:
    """Take the training's first steps, and keep nothing of them but the trace.

    The training's folder of checkpoints is empty. Raise InputError where the training is too short, or does not fit
    into memory.
    """
    begun = begin(training, tracker=tracker)
    machine, plan = begun.machine, begun.plan
    num_steps = num_possible(begun, wanted=num_steps)
    if num_steps < 1:
        raise InputError(
            f"{training.title} has {plan.num_steps} steps; a profile needs {NUM_WARM_UP + 3} or more: raise "
            f"{training.stage}.epochs, or lower {training.stage}.batch_size"
        )
    before = matrix_rate(plan.precision, device=machine.device, budget_s=LIMIT_BUDGET_S)
    try:
        flops_per_unit = flops_of_a_unit(begun.model, plan, begun.objective)
    except (ModelyardError, RuntimeError, NotImplementedError) as error:  # torch's are of the second kind
        logger.warning("the operations of a step cannot be counted: %s: %s", type(error).__name__, error)
        flops_per_unit = 0.0
    watch = watched_steps(begun, training.params, num_steps=num_steps, title=f"profile {training.stage}")
    limit = max(before, matrix_rate(plan.precision, device=machine.device, budget_s=LIMIT_BUDGET_S))
    recorded = read(watch.profiler)
    with replacing(trace) as partial:
        named = partial.with_name(partial.name + ".gz")  # by which torch knows that it is to be packed
        watch.profiler.export_chrome_trace(str(named))
        named.rename(partial)
    units_per_s = sum(watch.num_units) / watch.seconds
    flops_per_s = flops_per_unit * units_per_s or None
    in_products = recorded.product_share
    step_s = watch.seconds / num_steps
    product_rate = (
        flops_per_s * step_s / (in_products * recorded.step_s) / limit if flops_per_s and in_products else None
    )
    return Profile(
        title=training.title,
        device=machine.device.type,
        precision=machine.precision,
        num_threads=torch.get_num_threads(),
        num_steps=num_steps,
        step_s=step_s,
        recorded_step_s=recorded.step_s,
        unit=plan.unit,
        units_per_s=units_per_s,
        shares=recorded.shares,
        operations=recorded.operations[:NUM_OPERATIONS],
        flops_per_s=flops_per_s,
        limit_flops_per_s=limit,
        mfu=flops_per_s / limit if flops_per_s else None,
        verdict=verdict(recorded, product_rate=product_rate),
        trace=str(trace),
    )
