"""The plot of compress: quality over speed, with the model's size as the area of a point."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from components.plumbing.plots import INK, MAJORITY, MODEL, save, style


def draw_tradeoff(path: Path, points: Sequence[tuple[str, float, float, int]], *, metric: str, unit: str) -> None:
    """Write a PNG of points (name, units per second, quality, bytes); the first is the reference for the others."""
    with style():
        save(tradeoff(points, metric=metric.replace("_", " "), unit=unit), path)


def tradeoff(points: Sequence[tuple[str, float, float, int]], *, metric: str, unit: str) -> Figure:
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    largest = max(size for *_, size in points)
    for number, (name, units_per_s, quality, size) in enumerate(points):
        color = MODEL if number else MAJORITY
        axes.scatter(units_per_s, quality, s=900 * size / largest, color=color, edgecolors=INK, linewidths=0.8)
        axes.annotate(
            f"{name}\n{size / 1e6:.1f} MB, {units_per_s:.0f} {unit}/s", (units_per_s, quality),
            xytext=(0, 22), textcoords="offset points", ha="center", fontsize=9,
        )  # fmt: skip
    axes.margins(0.3, 0.5)
    axes.set_xlim(left=0)
    axes.set(xlabel=f"{unit}/s", ylabel=f"{metric} on the validation split")
    axes.set_title(f"{metric.capitalize()} and speed of each candidate")
    return figure
