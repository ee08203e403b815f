"""The plot of a search by several objectives: each trial as a point, with the Pareto front."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from components.params.sweep import SIZE, Sweep
from components.plumbing.plots import BASELINE, INK, MAJORITY, MODEL, shown
from flows.sweep.judging.front import figure_of, front_of, is_within
from flows.sweep.trials.trial import PRESENT, Trial

WIDTH = 5.2
AREA = 90.0
"""The area of a point, in square points; where points tell a size, that of the largest."""
LEAST = 0.08
"""The share of the largest point's area that even the smallest has."""
MAX_NAMED = 12
"""More trials on the front than this are not named beside their points."""


def axes_of(sweep: Sweep) -> tuple[str, str]:
    """Return what lies across and what upright: the first objective upright, across the next, one that is no size where
    there is one."""
    first, *others = sweep.objectives
    return next((name for name in others if name != SIZE), others[0]), first


def draw_pareto(sweep: Sweep, trials: Sequence[Trial], *, best: Trial | None) -> Figure | None:
    """Draw the finished trials by two of the objectives, with the size as the area of a point where it is known and no
    axis; None with one objective, or without a trial."""
    if len(sweep.objectives) < 2:
        return None
    across, upright = axes_of(sweep)
    there = [
        trial for trial in trials
        if trial.state == "done" and all(figure_of(trial, name, sweep) is not None for name in sweep.objectives)
    ]  # fmt: skip
    if not there:
        return None
    areas = areas_of(there, sweep, has_sizes=SIZE not in (across, upright))
    front = front_of(there, sweep)
    on_front = {trial.number for trial in front}
    looks: list[tuple[str, list[Trial], dict[str, Any]]] = [
        ("outside of the constraints", [one for one in there if not is_within(one, sweep)],
         {"facecolors": "none", "edgecolors": MAJORITY}),
        ("another is as good in all", [one for one in there if is_within(one, sweep) and one.number not in on_front],
         {"color": MAJORITY, "alpha": 0.5, "edgecolors": "none"}),
        ("on the front", front, {"color": MODEL, "alpha": 0.85, "edgecolors": "white"}),
        ("present settings", [one for one in there if one.number == PRESENT],
         {"facecolors": "none", "edgecolors": BASELINE, "linewidths": 2.2}),
    ]  # fmt: skip
    if best is not None and best.number != PRESENT:
        looks.append((f"trial {best.number}, chosen", [best],
                      {"facecolors": "none", "edgecolors": INK, "linewidths": 1.8}))  # fmt: skip
    figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
    axes = figure.subplots()
    for label, some, look in looks:
        if some:
            places = [(figure_of(one, across, sweep), figure_of(one, upright, sweep)) for one in some]
            sizes = [areas[one.number] for one in some]
            axes.scatter(*zip(*places, strict=True), s=sizes, label=label, zorder=3, **look)
    for trial in front if len(front) <= MAX_NAMED else ():
        place = (figure_of(trial, across, sweep), figure_of(trial, upright, sweep))
        axes.annotate(str(trial.number or "present"), place,
                      xytext=(6, 5), textcoords="offset points", fontsize=8, color=INK, zorder=5)  # fmt: skip
    draw_constraints(axes, sweep, across, upright)
    directions = dict(zip(sweep.objectives, sweep.directions, strict=True))
    words = {name: f"{shown(name, 0, what='objective')} ({'lower' if directions[name] == 'minimize' else 'higher'} is "
             "better)" for name in (across, upright)}  # fmt: skip
    axes.set(xlabel=words[across], ylabel=words[upright], title="Pareto front")
    axes.margins(0.08)
    if len(set(areas.values())) > 1:
        axes.set_title("Pareto front; the area is the size")
    figure.legend(loc="outside lower center", ncols=2, markerscale=0.7)
    return figure


def areas_of(trials: Sequence[Trial], sweep: Sweep, *, has_sizes: bool) -> Mapping[int, float]:
    """Return the area of each trial's point, by number: in proportion to its size where all have one."""
    sizes = {trial.number: figure_of(trial, SIZE, sweep) for trial in trials}
    known = [size for size in sizes.values() if size]
    if not has_sizes or len(known) < len(trials):
        return dict.fromkeys(sizes, AREA / 2)
    return {number: 2 * AREA * max(LEAST, (size or 0.0) / max(known)) for number, size in sizes.items()}


def draw_constraints(axes: Axes, sweep: Sweep, across: str, upright: str) -> None:
    """Draw the limits that lie on one of the two axes."""
    for name, draw in ((across, axes.axvline), (upright, axes.axhline)):
        limit = (sweep.constraints or {}).get(name)
        for edge in (limit.min, limit.max) if limit else ():
            if edge is not None:
                draw(edge, color=INK, lw=0.9, ls=":", zorder=1)
