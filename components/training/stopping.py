"""The reasons to end a training before its last epoch: early stopping, and a step or a look that must not be taken."""

import math
from pathlib import Path

from components.params import EarlyStopping
from components.plumbing.artifacts import write_json
from components.plumbing.errors import InputError, TrainingError, examples
from components.tracking.tracker import Tracker
from components.training.checkpoint import Position, has_checkpoint
from components.training.objective import Batch
from components.training.plan import Plan
from components.training.seats import BadStepError, Seat

STOPPED = "stopped.json"


def key_of(early_stopping: EarlyStopping) -> str:
    """Return the name that the metric of early stopping has among the validation figures."""
    return f"validation_{early_stopping.metric}"


def is_better(figures: dict[str, float], best: float | None, early_stopping: EarlyStopping) -> bool:
    """Return whether a look beats the best so far: by a lower loss, or a higher value of any other metric.

    Raise InputError where the objective does not measure the metric.
    """
    key = key_of(early_stopping)
    if key not in figures:
        known = sorted(name.removeprefix("validation_") for name in figures if name.startswith("validation_"))
        raise InputError(
            f"early_stopping.metric is '{early_stopping.metric}', which this training does not measure; "
            f"it measures {examples(known)}"
        )
    return best is None or (figures[key] < best if early_stopping.metric == "loss" else figures[key] > best)


def is_over(position: Position, early_stopping: EarlyStopping | None) -> bool:
    """Return whether the best look lies `patience` looks back."""
    if early_stopping is None or not position.best_look:
        return False
    return len(position.history) - position.best_look >= early_stopping.patience


def stopped(
    error: BadStepError, seat: Seat, batch: Batch, plan: Plan, position: Position, checkpoints: Path, tracker: Tracker
) -> TrainingError:
    """Return the error for the user; write the numbers of the batch's rows to `checkpoints` and to the tracker."""
    left = checkpoints / STOPPED
    note(left, error, seat, batch, step=position.step + 1)
    tracker.log_file(left)
    whose = f" ({seat.player.name})" if seat.player.name else ""
    kept = "the last good checkpoint is kept" if has_checkpoint(checkpoints) else "no checkpoint was made yet"
    before = f", after {len(position.left_out)} batches were left out" if position.left_out else ""
    return TrainingError(
        f"{error}{whose} at step {position.step + 1} of {plan.num_steps}{before}, on rows "
        f"{examples(batch.row.tolist())} (all of them: {left}); {kept}. Lower optimizer.learning_rate, or set clip"
    )


def left_out(error: BadStepError, seat: Seat, batch: Batch, *, step: int, checkpoints: Path, tracker: Tracker) -> Path:
    """Write the numbers of the rows of a batch that is left out to `checkpoints` and to the tracker; return where."""
    left = checkpoints / f"left_out_at_step_{step}.json"
    note(left, error, seat, batch, step=step)
    tracker.log_file(left, folder="left_out")
    return left


def note(path: Path, error: BadStepError, seat: Seat, batch: Batch, *, step: int) -> None:
    """Write what is known of a bad step."""
    seen = {"player": seat.player.name, "loss": str(error.loss), "grad_norm": str(error.norm)}
    write_json(path, seen | {"step": step, "rows": [int(row) for row in batch.row]})


def not_finite(figures: dict[str, float], position: Position, plan: Plan, checkpoints: Path) -> TrainingError:
    """Return the error of a look whose figures are not finite; its weights are not kept."""
    kept = "the last good checkpoint is kept" if has_checkpoint(checkpoints) else "no checkpoint was made yet"
    wrong = ", ".join(f"{name} is {value}" for name, value in figures.items() if not math.isfinite(value))
    return TrainingError(
        f"{wrong} after step {position.step} of {plan.num_steps}; {kept}. Lower optimizer.learning_rate, or set clip"
    )
