"""The limits of the recipe's section `promotion`, which a challenger must hold to beside a champion.

Two questions are asked of the quality, by one paired bootstrap interval of the drop. Is the challenger surely worse:
does the whole interval lie above the drop that nobody would notice (`indifference`)? May it be worse by more than the
recipe's margin: does the upper end lie above `max_drop` (a non-inferiority test; Wellek 2010)? The margin is for what
few rows cannot tell apart, so it excuses no drop that they do tell.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.comparison.duel import Comparison
from components.params import Promotion, SliceGate
from components.tracking.registry import Version

DIGITS = 6


@dataclass(frozen=True)
class Limits:
    gate: Promotion
    indifference: float
    """The recipe's, or that of the task's metric where the recipe names none."""


def figures_of(
    found: Comparison, *, p50_ms: tuple[float, float], sizes: tuple[int, int], limits: Limits
) -> dict[str, Any]:
    """Return everything that was measured beside one champion, by name; of pairs, the champion's comes first."""
    slices = {name: one for name, one in found.slices.items() if counts(name, one.num_rows, limits.gate.slices)}
    worst = max(slices, key=lambda name: slices[name].drop, default=None)
    figures: dict[str, Any] = {
        "judged": found.judged,
        "champion": found.champion,
        "challenger": found.challenger,
        "drop": found.drop,
        "drop_low": found.drop_low,
        "drop_high": found.drop_high,
        "champion_p50_ms": p50_ms[0],
        "challenger_p50_ms": p50_ms[1],
        "latency_ratio": p50_ms[1] / p50_ms[0],
        "champion_size_bytes": sizes[0],
        "challenger_size_bytes": sizes[1],
        "size_ratio": sizes[1] / sizes[0],
    }
    if worst is not None:
        figures |= {"worst_slice": worst, "worst_slice_drop": slices[worst].drop}
    return {name: rounded(value) for name, value in figures.items()}


def as_best(figures: Mapping[str, Any], best: Version) -> dict[str, Any]:
    """Return the figures beside the best champion so far under names of their own."""
    named = {"best": f"version {best.number}", "best_figure": figures["champion"]}
    kept = ("drop", "drop_low", "drop_high", "latency_ratio", "size_ratio", "worst_slice", "worst_slice_drop")
    return named | {f"best_{name}": figures[name] for name in kept if name in figures}


def rounded(value: Any) -> Any:
    """Return a figure as it is written, rounded to DIGITS; JSON knows no NaN, so that becomes a word."""
    if not isinstance(value, float):
        return value
    return round(value, DIGITS) + 0.0 if np.isfinite(value) else str(value)


def counts(name: str, num_rows: int, gate: SliceGate | None) -> bool:
    """Return whether a slice has enough rows to be judged, and is of a kind that the gate judges."""
    return gate is not None and name.split(" ", 1)[0] in gate.by and num_rows >= gate.min_rows


def faults_of(found: Comparison, figures: Mapping[str, Any], limits: Limits, *, whose: str) -> list[str]:
    """Return the limits that the challenger breaks beside a champion, each with the figure and the limit."""
    gate, faults = limits.gate, list[str]()
    if worse := worse_by(found, limits):
        faults.append(
            f"{figures['metric']} {found.challenger:.4f} beside {whose} {found.champion:.4f}, worse by "
            f"{found.drop:.4f}: {worse}"
        )
    for name, one in found.slices.items():
        if gate.slices is not None and counts(name, one.num_rows, gate.slices) and one.drop > gate.slices.max_drop:
            faults.append(
                f"accuracy {one.challenger:.4f} beside {whose} {one.champion:.4f} on the {one.num_rows:,} rows of "
                f"{name} (slices.max_drop {gate.slices.max_drop:g})"
            )
    if figures["latency_ratio"] > gate.latency.max_ratio:
        faults.append(
            f"{figures['challenger_p50_ms']:.2f} ms for one {figures['unit']} beside {whose} "
            f"{figures['champion_p50_ms']:.2f} ms, {figures['latency_ratio']:.2f} times (latency.max_ratio "
            f"{gate.latency.max_ratio:g})"
        )
    if figures["size_ratio"] > gate.max_size_ratio:
        faults.append(
            f"{figures['challenger_size_bytes'] / 1e6:.1f} MB beside {whose} "
            f"{figures['champion_size_bytes'] / 1e6:.1f} MB, {figures['size_ratio']:.2f} times (max_size_ratio "
            f"{gate.max_size_ratio:g})"
        )
    return faults


def worse_by(found: Comparison, limits: Limits) -> str:
    """Return why a drop is too large, in words; empty where it is not. One that is not a number is."""
    told: list[str] = []
    if not found.drop_low <= limits.indifference:
        told.append(f"surely by {found.drop_low:.4f} (indifference {limits.indifference:g})")
    if not found.drop_high <= limits.gate.max_drop:
        told.append(
            f"by up to {found.drop_high:.4f} for all that {found.judged} tell (max_drop {limits.gate.max_drop:g})"
        )
    return ", ".join(told)
