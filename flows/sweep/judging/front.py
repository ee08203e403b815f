"""Which trials are the best: by one figure, or, by several, those that no other one is better than in all of them (the
Pareto front), each within the sweep's constraints."""

import math
from collections.abc import Iterable, Sequence
from typing import TypeGuard

from components.params.sweep import Sweep
from flows.sweep.trials.trial import Trial


def is_finite(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def figure_of(trial: Trial, name: str, sweep: Sweep) -> float | None:
    """Return a figure of a trial by its name; None where it has none, or no finite one."""
    value = trial.value if name == sweep.objectives[0] else trial.figures.get(name)
    return value if is_finite(value) else None


def misses_of(trial: Trial, sweep: Sweep) -> dict[str, float]:
    """Return for each constraint by how much the trial misses it, as a share of the limit; 0 where it is kept. What is
    not known is missed without end."""
    values = {name: figure_of(trial, name, sweep) for name in sweep.constraints or {}}
    return {
        name: math.inf if (value := values[name]) is None else limit.miss(value)
        for name, limit in (sweep.constraints or {}).items()
    }


def is_within(trial: Trial, sweep: Sweep) -> bool:
    """Return whether a trial is finished, has all that it is judged by, and keeps the constraints."""
    has_all = all(figure_of(trial, name, sweep) is not None for name in sweep.objectives)
    return trial.state == "done" and has_all and not any(misses_of(trial, sweep).values())


def costs_of(trial: Trial, sweep: Sweep) -> tuple[float, ...]:
    """Return the objectives of a trial, each lower where it is better."""
    signs = [1 if one == "minimize" else -1 for one in sweep.directions]
    values = [figure_of(trial, name, sweep) for name in sweep.objectives]
    return tuple(math.inf if value is None else sign * value for sign, value in zip(signs, values, strict=True))


def ranked(trials: Iterable[Trial], sweep: Sweep) -> list[tuple[Trial, float]]:
    """Return the finished trials within the constraints, with their first objective, the best by it first; of equals
    the earliest, so the present settings."""
    found = [(trial, value) for trial in trials if is_within(trial, sweep) and is_finite(value := trial.value)]
    return sorted(found, key=lambda one: (costs_of(one[0], sweep)[0], one[0].number))


def front_of(trials: Iterable[Trial], sweep: Sweep) -> list[Trial]:
    """Return the Pareto front, the best by the first objective first; of equals the earliest alone. By one objective it
    is the best trial."""
    front: list[Trial] = []
    kept: list[tuple[float, ...]] = []
    # Whatever is better in all comes before in this order, so each is compared with the front so far alone.
    within = [trial for trial in trials if is_within(trial, sweep)]
    for trial in sorted(within, key=lambda one: (costs_of(one, sweep), one.number)):
        costs = costs_of(trial, sweep)
        if not any(all(a <= b for a, b in zip(other, costs, strict=True)) for other in kept):
            front.append(trial)
            kept.append(costs)
    return front


def best_of(trials: Iterable[Trial], sweep: Sweep) -> Trial | None:
    """Return the trial with the best first objective, on the front; None where none is within the constraints."""
    return next(iter(front_of(trials, sweep)), None)


def nearest_of(trials: Sequence[Trial], sweep: Sweep) -> Trial | None:
    """Return the finished trial that misses the constraints by least, all of them together; None without any."""
    done = [trial for trial in trials if trial.state == "done"]
    return min(done, key=lambda one: (sum(misses_of(one, sweep).values()), one.number), default=None)


def misses_in_words(trial: Trial, sweep: Sweep) -> str:
    """Return which constraints a trial misses, and by how much."""
    said: list[str] = []
    for name, miss in misses_of(trial, sweep).items():
        if not miss:
            continue
        limit, value = (sweep.constraints or {})[name], figure_of(trial, name, sweep)
        if value is None:
            said.append(f"{name} is not known")
            continue
        is_above = limit.max is not None and value > limit.max
        edge = limit.max if is_above else limit.min
        said.append(
            f"{name} {in_digits(value)} is {in_digits(abs(value - (edge or 0.0)))} "
            f"{'above max' if is_above else 'below min'} {in_digits(edge)} ({miss:.1%})"
        )
    return " and ".join(said)


def in_digits(value: float | None) -> str:
    """Return a figure as a person reads it; nothing where there is none."""
    return "" if value is None else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:z.4g}"
