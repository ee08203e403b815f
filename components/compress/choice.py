"""Which candidate is served: the smallest or the fastest within the recipe's limits; and which ones no other is better
than."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from components.compress.limit import Limit
from components.compress.measure import Speed
from components.compress.trial import DIGITS
from components.params import CompressionGate
from components.plumbing.errors import CompressionError

logger = logging.getLogger(__name__)

SAME_SIZE = 0.01  # sizes that differ by less count as one: a zero weight takes as many bytes as any
SAME_SPEED = 0.02  # speeds that differ by less count as one
MAX_NAMED = 3  # of the candidates that are smaller than the chosen one, and outside of the limits

Drop = Callable[[float, float], float]
"""A function of the float model's quality and another's that returns by how much the other is worse."""


@dataclass(frozen=True)
class Candidate:
    """One compressed model, with its measured quality and size."""

    name: str
    method: str
    sparsity: float
    network: str
    """The trained network, or the student of a shape, in words."""
    runner: Any
    folder: Path
    quality: float
    """The quality on the validation split."""
    drop: float
    """The loss of quality against the float model, on the validation split."""
    drop_ends: tuple[float, float] | None
    """The ends of the paired interval of the loss; None where the quality is not one of rows."""
    size_bytes: int
    size_ratio: float
    batch_size: int
    """The number of rows that are computed at once; 1 where the answers would depend on that."""
    limits: tuple[Limit, ...] = ()
    """The limits that hold for this candidate beside those of the gate."""


def choose(
    candidates: Sequence[Candidate], speeds: Mapping[str, Speed], gate: CompressionGate, *, metric: str, unit: str,
    float_quality: float, prefer: Literal["size", "speed"] = "size",
) -> Candidate:  # fmt: skip
    """Return the smallest candidate within the limits, or the fastest; raise CompressionError where none is, with the
    nearest in its words.

    Unless the fastest is wanted, a measured speed lets a candidate pass or fail but does not rank it, so a busy machine
    does not change the choice.
    """
    missed: dict[str, list[Limit]] = {}
    for one in candidates:
        limits = limits_of(one, speeds[one.name], gate, metric=metric, unit=unit, float_quality=float_quality)
        missed[one.name] = [limit for limit in limits if limit.miss]
    passed = [candidate for candidate in candidates if not missed[candidate.name]]
    best = best_of(passed if prefer == "size" else fastest_of(passed, speeds))
    if best is None:
        nearest = min(candidates, key=lambda one: sum(limit.miss for limit in missed[one.name]))
        none = f"none of {len(candidates)} candidates" if len(candidates) > 1 else "no candidate"
        raise CompressionError(
            f"{none} is within compress.gate; the nearest is {nearest.name}: {in_words(missed[nearest.name])}. "
            "Add a candidate or a student, train further, or move the limit",
            report=gate_report(candidates, speeds, unit=unit, metric=metric, float_quality=float_quality),
        )
    given_up = [c for c in candidates if missed[c.name] and is_ahead(c, best, speeds, prefer)]
    if given_up:
        nearest = sorted(given_up, key=lambda one: sum(limit.miss for limit in missed[one.name]))[:MAX_NAMED]
        lines = "; ".join(f"{one.name}: {in_words(missed[one.name])}" for one in nearest)
        rest = f"; and {len(given_up) - len(nearest)} more" if len(given_up) > len(nearest) else ""
        logger.warning(
            "%s is served, %.1f MB: what is %s is outside of compress.gate (%s%s)",
            best.name, best.size_bytes / 1e6, "smaller" if prefer == "size" else "faster", lines, rest,
        )  # fmt: skip
    return best


def is_ahead(
    one: Candidate, best: Candidate, speeds: Mapping[str, Speed], prefer: Literal["size", "speed"]
) -> bool:  # fmt: skip
    """Return whether a candidate has less, or more, of what is preferred than the best one, and not about the same."""
    if prefer == "size":
        return one.size_bytes < best.size_bytes * (1 - SAME_SIZE)
    return speeds[one.name].units_per_s * (1 - SAME_SPEED) > speeds[best.name].units_per_s


def fastest_of(passed: Sequence[Candidate], speeds: Mapping[str, Speed]) -> list[Candidate]:
    """Return the candidates with the most units per second, and those that are slower by less than SAME_SPEED."""
    most = max((speeds[candidate.name].units_per_s for candidate in passed), default=0.0)
    return [candidate for candidate in passed if speeds[candidate.name].units_per_s >= most * (1 - SAME_SPEED)]


def best_of(passed: Sequence[Candidate]) -> Candidate | None:
    """Return the smallest candidate; of sizes that differ by less than SAME_SIZE, the least drop decides, then their
    order."""
    smallest = min((candidate.size_bytes for candidate in passed), default=0)
    near = [candidate for candidate in passed if candidate.size_bytes <= smallest * (1 + SAME_SIZE)]
    return min(near, key=lambda candidate: candidate.drop, default=None)


def limits_of(
    candidate: Candidate, speed: Speed, gate: CompressionGate, *, metric: str, unit: str, float_quality: float
) -> list[Limit]:
    """Return each limit of the gate, with the candidate's figure, and the candidate's own."""
    found = [
        *candidate.limits,
        Limit(
            "max_drop", candidate.drop, gate.max_drop, is_least=False,
            words=f"{metric} {candidate.quality:.4f} is {candidate.drop:.4f} worse than the float model's "
            f"{float_quality:.4f}",
        ),
        Limit(
            "min_speedup", speed.speedup, gate.min_speedup, is_least=True,
            words=f"{speed.speedup:.2f} times the {unit}/s of torch fp32",
        ),
        Limit(
            "max_size_ratio", candidate.size_ratio, gate.max_size_ratio, is_least=False,
            words=f"{candidate.size_ratio:.3f} of the float model's bytes",
        ),
    ]  # fmt: skip
    if gate.min_batched_speedup is not None and speed.batched_speedup is not None:
        found.append(Limit(
            "min_batched_speedup", speed.batched_speedup, gate.min_batched_speedup, is_least=True,
            words=f"{speed.batched_speedup:.2f} times the {unit}/s of torch fp32 in batches",
        ))  # fmt: skip
    if gate.max_p99_ms is not None:
        found.append(Limit(
            "max_p99_ms", speed.p99_ms, gate.max_p99_ms, is_least=False, words=f"p99 {speed.p99_ms:.2f} ms",
        ))  # fmt: skip
    return found


def in_words(missed: Sequence[Limit]) -> str:
    return " and ".join(f"{one.words} ({one.name} {one.limit:g})" if one.name else one.words for one in missed)


def front_of(candidates: Sequence[Candidate], speeds: Mapping[str, Speed]) -> list[Candidate]:
    """Return the Pareto front: the candidates that no other one is at least as good as in quality, size and speed."""

    def costs(one: Candidate) -> tuple[float, float, float]:
        return one.drop, one.size_bytes, -speeds[one.name].units_per_s

    def is_beaten(one: Candidate) -> bool:
        mine = costs(one)
        return any(
            other is not one and costs(other) != mine and all(a <= b for a, b in zip(costs(other), mine, strict=True))
            for other in candidates
        )

    return [one for one in candidates if not is_beaten(one)]


def gate_report(
    candidates: Sequence[Candidate], speeds: Mapping[str, Speed], *, unit: str, metric: str, float_quality: float
) -> dict[str, object]:
    """Return the figures that the gate judged, by name."""
    report: dict[str, object] = {"metric": metric, "float_validation_quality": float_quality}
    for c in candidates:
        report |= {f"{c.name} quality": c.quality, f"{c.name} drop": c.drop, f"{c.name} size_ratio": c.size_ratio}
        figures = figures_of(speeds[c.name], unit)
        report |= {f"{c.name} {name}": round(value, DIGITS) for name, value in figures.items()}
    return report


def figures_of(speed: Speed, unit: str) -> dict[str, float]:
    """Return the figures of a speed by name, with the unit in the name of the rate."""
    found = {
        f"{unit}_per_s": speed.units_per_s, "speedup": speed.speedup, "p50_ms": speed.p50_ms, "p99_ms": speed.p99_ms,
    }  # fmt: skip
    return found if speed.batched_speedup is None else {**found, "batched_speedup": speed.batched_speedup}
