"""The picture of compress: accuracy beside speed, the area of a point showing the model's size."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

INK, CANDIDATE, REFERENCE, GRID = "#22303c", "#1f5fa8", "#b4bcc6", "#e7eaee"


def draw_tradeoff(path: Path, points: Sequence[tuple[str, float, float, int]]) -> None:
    """Write a PNG of (name, rows/s, accuracy, bytes); the first point is what the others are compared with."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    largest = max(size for *_, size in points)
    for number, (name, rows_per_s, accuracy, size) in enumerate(points):
        color = CANDIDATE if number else REFERENCE
        axes.scatter(rows_per_s, accuracy, s=900 * size / largest, color=color, edgecolors=INK, linewidths=0.8)
        axes.annotate(
            f"{name}\n{size / 1e6:.1f} MB, {rows_per_s:.0f} rows/s", (rows_per_s, accuracy),
            xytext=(0, 22), textcoords="offset points", ha="center", fontsize=9, color=INK,
        )  # fmt: skip
    axes.margins(0.3, 0.5)
    axes.set_xlim(left=0)
    axes.set(xlabel="rows/s", ylabel="accuracy on the validation split")
    axes.set_title("Accuracy and speed of each candidate", loc="left", fontweight="bold", fontsize=11, pad=10)
    axes.grid(color=GRID)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130, metadata={"Software": None})
