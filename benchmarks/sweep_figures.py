"""What benchmarks/sweep.py measures of a search, and the rows that it makes of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from results import Row

OURS, OPTUNA, RAY = "ours", "Optuna", "Ray Tune"
MOST_BETWEEN_S = 2.0
"""The most seconds from one training to the next that a trial may take."""
MIB = 2**20
TRIED = "see 'A sweep asks in waves' in docs/decisions.md"


@dataclass(frozen=True)
class Found:
    """What one side found and took in one round."""

    best: tuple[tuple[float, float], ...]
    """The seconds of the processor after which a trial was through, and its figure; the first are the present
    settings, which cost nothing."""
    cpu_s: float
    through_s: float
    """The seconds of the processor until the last trial ended; what comes after is the comparison, the page."""
    wall_s: float
    peak_bytes: int
    num_done: int
    num_pruned: int
    training_s: float
    """The seconds of the processor in the trainings themselves."""
    between_s: tuple[float, ...]
    """The seconds from one training of a process to the next, where nobody had to wait for another's trial."""
    first_s: tuple[float, ...]
    """The seconds from the start of a process to its first training."""

    def at(self, cpu_s: float) -> float:
        """Return the best figure that was there after so many seconds of the processor."""
        return max(value for when, value in self.best if when <= cpu_s)


def gaps(fits: Sequence[Mapping[str, Any]], waves: Mapping[str, int]) -> tuple[list[float], list[float]]:
    """Return the seconds from one training to the next, and those from a process's start to its first training.

    Where trials come in waves, by the name of a trial's folder, the first of a process in a wave begins when all of the
    wave before have ended.
    """
    between, first = list[float](), list[float]()
    last: dict[int, Mapping[str, Any]] = {}
    for one in sorted(fits, key=lambda one: one["began"]):
        before, wave = last.get(one["pid"]), wave_of(one, waves)
        if before is None:
            first.append(one["began"] - one["born"])
        else:
            free = before["ended"]
            if wave_of(before, waves) != wave:
                free = max(other["ended"] for other in fits if wave_of(other, waves) < wave)
            between.append(one["began"] - free)
        last[one["pid"]] = one
    return between, first


def wave_of(fit: Mapping[str, Any], waves: Mapping[str, int]) -> int:
    parts = Path(fit["folder"]).parts
    return waves.get(parts[parts.index("trials") + 1], 0)


def rows_of(name: str, found: Mapping[str, Sequence[Found]]) -> list[Row]:
    rows: list[Row] = []
    mine = found[OURS]
    peers = [side for side in found if side != OURS]
    same = [min(one.through_s for one in sides) for sides in zip(*found.values(), strict=True)]
    at_same = {side: [one.at(cpu) for one, cpu in zip(several, same, strict=True)] for side, several in found.items()}
    for side in peers:
        gains = [a - b for a, b in zip(at_same[OURS], at_same[side], strict=True)]
        ours, its = (f"{median(at_same[one]):.4f}" for one in (OURS, side))
        rows.append(Row(
            f"{name}: best validation accuracy after the same processor time, above that of {side}", gains, ours, its,
            "", at_least=0.0, tried=TRIED,
        ))  # fmt: skip
    told_between = {
        side: [np.quantile(one.between_s or [np.nan], [0.5, 0.95]) for one in several]
        for side, several in found.items()
    }
    its = told_gap(told_between[OPTUNA], OPTUNA)
    for at, (words, most) in enumerate({"median": MOST_BETWEEN_S, "95 of 100": None}.items()):
        values = [float(quantiles[at]) for quantiles in told_between[OURS]]
        rows.append(Row(
            f"{name}: seconds of a trial beyond its training, {words}", values, f"{median(values):.2f} s", its[at], "",
            at_most=most, tried=TRIED,
        ))  # fmt: skip
    firsts = {side: [median(one.first_s) for one in several] for side, several in found.items()}
    rows.append(Row(
        f"{name}: seconds from a process's start to its first training", firsts[OURS], f"{median(firsts[OURS]):.1f} s",
        ", ".join(f"{side} {median(firsts[side]):.1f} s" for side in peers), "",
    ))  # fmt: skip
    for side in peers:
        its = found[side]
        pairs = list(zip(mine, its, strict=True))
        ours, theirs = (f"{median(one.through_s for one in several):.0f} s" for several in (mine, its))
        ratios = [a.through_s / b.through_s for a, b in pairs]
        rows.append(Row(f"{name}: processor time of all trials beside {side}", ratios, ours, theirs))
        ours, theirs = (f"{median(one.peak_bytes for one in several) / MIB:.0f} MiB" for several in (mine, its))
        ratios = [a.peak_bytes / b.peak_bytes for a, b in pairs]
        rows.append(Row(f"{name}: peak memory beside {side}", ratios, ours, theirs))
    return rows


def told_gap(quantiles: Sequence[Any], side: str) -> list[str]:
    return [f"{side} {median(float(one[at]) for one in quantiles):.2f} s" for at in (0, 1)]


def notes_of(name: str, found: Mapping[str, Sequence[Found]]) -> list[str]:
    """Return what each round took, and the best figures on the way."""
    return [
        f"{name}, seed {seed}, {side}: {told(one)}" for side, several in found.items()
        for seed, one in enumerate(several)
    ]  # fmt: skip


def told(one: Found) -> str:
    way = ", ".join(f"{one.at(share * one.through_s):.3f}" for share in (0.25, 0.5, 0.75, 1.0))
    return (
        f"{one.num_done} done, {one.num_pruned} pruned; {one.cpu_s:.0f} s of the processor, {one.through_s:.0f} until "
        f"the last trial, {one.training_s:.0f} of them training; {one.wall_s:.0f} s; {one.peak_bytes / MIB:.0f} MiB; "
        f"best after each quarter: {way}"
    )
