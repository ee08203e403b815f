"""The picture of the worst slices: each one's accuracy with its interval, beside that of all rows."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from components.evaluate.classification.finding.slices import FoundSlices, verdict
from components.plumbing.pages import LIGHT
from components.plumbing.plots import save, shown, style

PICTURE = "found_slices.png"
MAX_SLICES = 24
MAX_NAME = 40


def save_found_slices(folder: Path, found: FoundSlices) -> None:
    """Write the picture into the folder."""
    with style():
        save(draw_found_slices(found), folder / PICTURE)


def draw_found_slices(found: FoundSlices) -> Figure:
    """Draw the slices that are shown, the surest at the top; those that are surely worse in red."""
    slices = found.slices[:MAX_SLICES]
    figure = Figure(figsize=(8, 1.5 + 0.32 * max(len(slices), 2)), layout="constrained")
    axes = figure.add_subplot()
    for place, one in enumerate(slices):
        axes.hlines(place, one.accuracy_low, one.accuracy_high, color=LIGHT["reference"], lw=4)
        axes.plot(one.accuracy, place, "o", color=LIGHT["alarm" if one.is_surely_worse else "window"], ms=6)
        axes.text(1.03, place, f"{one.accuracy:.3f}  ({one.num_rows})", va="center", fontsize=8.5)
    axes.axvline(found.accuracy, color=LIGHT["warning"], lw=1.2, ls="--", zorder=0)
    names = [
        f"{one.kind}: {shown(one.name, number + 1, what='slice', max_letters=MAX_NAME)}"
        for number, one in enumerate(slices)
    ]
    axes.set_yticks(np.arange(len(slices)), names, fontsize=9)
    axes.set(xlim=(-0.01, 1.01), ylim=(max(len(slices), 2) - 0.4, -0.6))
    axes.set_xlabel(f"accuracy (rows); the intervals hold all at once at {found.confidence:.0%}")
    said = verdict(found)
    figure.suptitle(f"{said[:1].upper()}{said[1:]} (dashed: all rows, {found.accuracy:.3f})", fontsize=10.5)
    axes.grid(False, axis="y")
    return figure
