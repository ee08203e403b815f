"""The plot of compress: quality over speed, with the model's size as the area of a point."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from components.plumbing.plots import BASELINE, INK, MAJORITY, MODEL

AREA, LEAST_AREA = 420.0, 30.0
"""The areas of the largest point and of the smallest that is drawn, in square points."""
MAX_NUMBERED = 10
"""More points than this are not numbered."""


@dataclass(frozen=True)
class Point:
    """A candidate, or the float model."""

    number: int
    """Its number in the table; 0 of the float model."""
    units_per_s: float
    quality: float
    low: float
    """The lower end of the interval of the quality; the quality itself where there is none."""
    high: float
    size_bytes: int
    is_within: bool
    """Whether it is within every limit."""
    is_on_front: bool
    is_chosen: bool


def draw_tradeoff(points: Sequence[Point], *, metric: str, unit: str, floor: tuple[float, str]) -> Figure:
    """Draw the candidates; the first point is the float model, and `floor` the worst quality within the limits, with
    the words for it."""
    figure = Figure(figsize=(7, 4.4), layout="constrained")
    axes = figure.subplots()
    largest = max(point.size_bytes for point in points)
    first, *rest = points
    looks: list[tuple[str, list[Point], dict[str, Any]]] = [
        ("torch fp32", [first], {"color": BASELINE}),
        ("outside of the limits", [p for p in rest if not p.is_within], {"facecolors": "none", "edgecolors": MAJORITY}),
        ("another is as good in all", [p for p in rest if p.is_within and not p.is_on_front], {"color": MAJORITY}),
        ("on the front", [p for p in rest if p.is_within and p.is_on_front], {"color": MODEL, "alpha": 0.85}),
        ("chosen", [p for p in rest if p.is_chosen], {"facecolors": "none", "edgecolors": INK, "linewidths": 2.0}),
    ]  # fmt: skip
    for label, some, look in looks:
        if not some:
            continue
        across, upright = [p.units_per_s for p in some], [p.quality for p in some]
        areas = [max(LEAST_AREA, AREA * p.size_bytes / largest) for p in some]
        axes.scatter(across, upright, s=areas, label=label, zorder=3, **look)
        ends = [[p.quality - p.low for p in some], [p.high - p.quality for p in some]]
        axes.errorbar(across, upright, yerr=ends, fmt="none", ecolor=MAJORITY, elinewidth=1, zorder=2)
    for point in rest if len(rest) <= MAX_NUMBERED else [p for p in rest if p.is_on_front or p.is_chosen]:
        axes.annotate(str(point.number), (point.units_per_s, point.quality), xytext=(9, 7),
                      textcoords="offset points", fontsize=9, color=INK, zorder=5)  # fmt: skip
    value, words = floor
    axes.axhline(value, color=MAJORITY, linestyle="--", linewidth=1, zorder=1)
    axes.annotate(words, (0, value), xytext=(4, -11), textcoords="offset points", fontsize=8, color=INK)
    axes.set_xlim(left=0)
    axes.margins(0.12)
    axes.set(xlabel=f"{unit}/s", ylabel=f"{metric} on the validation split")
    axes.set_title("Quality and speed of each candidate; the area is the size")
    figure.legend(loc="outside lower center", ncols=3, markerscale=0.6)
    return figure
