"""The plots of a search over settings, readable for one trial and for a thousand; equal trials give equal bytes."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from components.params.sweep import Sweep
from components.plumbing.pages import LIGHT
from components.plumbing.plots import BASELINE, CLASS, CONTROL, INK, MAJORITY, MAX_LABEL, MODEL, save, shown, style
from flows.sweep.judging.front import is_finite, ranked
from flows.sweep.report.pareto import draw_pareto
from flows.sweep.report.scales import OFF, Scale, scale_of
from flows.sweep.trials.trial import PRESENT, State, Trial

ALARM, AXIS = LIGHT["alarm"], "#8a94a0"
NAMES = ("pareto", "history", "curves", "importance", "parallel")
MARKS: Mapping[State, tuple[str, str, float]] = {"done": ("o", MODEL, 5), "pruned": ("v", CONTROL, 5),
                                                 "failed": ("X", ALARM, 7)}  # fmt: skip
WIDTH = 5.2
"""Inches of a plot: on a phone its words can still be read, and two lie side by side on a wide window."""
MAX_AXES = 16
MAX_BARS = 24
MANY = 100
"""More lines than this are drawn thinner and fainter."""
LARGEST = 1e30
"""A number beyond it is drawn at the edge, since axes cannot hold the largest there are."""
VAGUE = ("name", "kind", "mode")
"""Keys that say nothing without the one above."""
FAR = 3.0
"""What lies as many quartile distances beyond the quartiles is far out (Tukey 1977)."""


def draw_plots(
    folder: Path, sweep: Sweep, trials: Sequence[Trial], importances: Mapping[str, float], *, best: Trial | None
) -> dict[Path, float]:
    """Write each plot that there are figures for into the folder as a PNG, and take away an old one that there are none
    for; return the paths and widths, in inches."""
    ordered = sorted(trials, key=lambda trial: trial.number)
    written: dict[Path, float] = {}
    with style():
        figures = (
            draw_pareto(sweep, ordered, best=best),
            draw_history(sweep, ordered),
            draw_curves(sweep, ordered),
            draw_importance(sweep, importances),
            draw_parallel(sweep, ordered, importances),
        )
        for name, figure in zip(NAMES, figures, strict=True):
            path = folder / f"{name}.png"
            if figure is None:
                path.unlink(missing_ok=True)
                continue
            save(figure, path)
            written[path] = float(figure.get_figwidth())
    return written


def short_names(paths: Iterable[str]) -> dict[str, str]:
    """Return for each path its shortest end that no other has and that says something."""
    known = list(dict.fromkeys(paths))
    found: dict[str, str] = {}
    for path in known:
        keys = path.split(".")
        ends = (
            ".".join(keys[-length:])
            for length in range(2 if keys[-1] in VAGUE or keys[-1].isdecimal() else 1, len(keys))
        )
        found[path] = next((end for end in ends if sum(f".{one}".endswith(f".{end}") for one in known) == 1), path)
    return found


def labels_of(paths: Iterable[str]) -> dict[str, str]:
    """Return short names as a plot can show them, without the beginning of those that are long."""
    return {
        path: shown(name if len(name) <= MAX_LABEL else f"…{name[1 - MAX_LABEL :]}", number, what="setting")
        for number, (path, name) in enumerate(short_names(paths).items())
    }


def span_of(values: Sequence[float], *, minimizes: bool) -> tuple[float, float]:
    """Return the ends of an axis that holds the values, but for those that are far out on the worse side."""
    clipped = np.clip(np.asarray(values, np.float64), -LARGEST, LARGEST)
    first, third = np.percentile(clipped, [25, 75])
    reach = FAR * (third - first)
    if reach > 0:
        clipped = clipped[clipped <= third + reach] if minimizes else clipped[clipped >= first - reach]
    low, high = float(clipped.min()), float(clipped.max())
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        pad = 0.05 * max(abs(low), abs(high)) or 0.5
        return low - pad, high + pad
    return low, high


def within(value: float | None, span: tuple[float, float], *, minimizes: bool) -> float:
    """Return the value, or the end of the axis that is nearest; the worse end where there is none."""
    low, high = span
    if not is_finite(value):
        return high if minimizes else low
    return min(max(value, low), high)


def better(name: str, *, minimizes: bool) -> str:
    return f"{shown(name, 0, what='objective')} ({'lower' if minimizes else 'higher'} is better)"


def draw_history(sweep: Sweep, trials: Sequence[Trial]) -> Figure | None:
    """Draw the objective of each trial, the best so far, and the present settings' value across."""
    values = [value for trial in trials if is_finite(value := trial.value)]
    if not values:
        return None
    minimizes = sweep.minimizes
    present = [value for trial, value in ranked(trials, sweep) if trial.number == PRESENT]
    present = [min(max(value, -LARGEST), LARGEST) for value in present]
    low, high = span_of(values, minimizes=minimizes)
    low, high = min([low, *present]), max([high, *present])
    edge = 0.06 * (high - low)
    span = (low - edge, high + edge)
    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    axes = figure.subplots()
    num_edge = 0
    for state, (marker, colour, size) in MARKS.items():
        of_state = [trial for trial in trials if trial.state == state]
        if not of_state:
            continue
        heights = [within(trial.value, span, minimizes=minimizes) for trial in of_state]
        num_edge += sum(height in span for height in heights)
        numbers = [trial.number for trial in of_state]
        axes.plot(
            numbers, heights, marker, ms=size, color=colour, mec="white", mew=0.5, alpha=0.85, clip_on=False, zorder=3,
            label=f"{state} ({len(of_state)})",
        )  # fmt: skip
    draw_best_so_far(axes, sweep, trials)
    for value in present:
        axes.axhline(value, color=BASELINE, lw=1.6, ls="--", label=f"present settings ({value:.4g})")
    last = max(trial.number for trial in trials)
    axes.set(xlim=(-0.5 - last / 60, last + 0.5 + last / 60), ylim=span, title="Trials")
    axes.set_ylabel(better(sweep.objectives[0], minimizes=minimizes))
    where = "top" if minimizes else "bottom"
    axes.set_xlabel(f"trial (at the {where} edge: {num_edge} far worse, or without a value)" if num_edge else "trial")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def draw_best_so_far(axes: Axes, sweep: Sweep, trials: Sequence[Trial]) -> None:
    numbers, best = list[int](), list[float]()
    for trial, value in sorted(ranked(trials, sweep), key=lambda one: one[0].number):
        numbers.append(trial.number)
        clipped = min(max(value, -LARGEST), LARGEST)
        best.append((min if sweep.minimizes else max)([*best[-1:], clipped]))
    if best:
        last = max(trial.number for trial in trials)
        axes.step(
            [*numbers, last], [*best, best[-1]], where="post", color=MODEL, lw=1.8, label=f"best ({best[-1]:.4g})"
        )


def draw_importance(sweep: Sweep, importances: Mapping[str, float]) -> Figure | None:
    """Draw how much each setting matters, the most on top."""
    names = labels_of([*sweep.space, *importances])
    finite = [(path, value) for path, value in importances.items() if math.isfinite(value)]
    largest = sorted(finite, key=lambda one: (-one[1], one[0]))[:MAX_BARS]
    if not largest:
        return None
    figure = Figure(figsize=(WIDTH, 1.2 + 0.32 * max(len(largest), 2)), layout="constrained")
    axes = figure.subplots()
    values = [value for _, value in largest]
    places = range(len(largest))
    axes.barh(places, values, 0.7, color=MODEL)
    for place, value in zip(places, values, strict=True):
        axes.text(max(value, 0), place, f" {value:.2f}", va="center", fontsize=8.5)
    axes.set_yticks(places, [names[path] for path, _ in largest], fontsize=9)
    axes.set(
        ylim=(len(largest) - 0.4, -0.6),
        xlabel="share of the objective's spread"
        if len(sweep.objectives) == 1
        else f"share of {sweep.objectives[0]}'s spread",
        title="What matters",
    )
    axes.set_xlim(min(0, *values), 1.12 * max(*values, 0) or 1)
    axes.grid(False, axis="y")
    return figure


def draw_parallel(sweep: Sweep, trials: Sequence[Trial], importances: Mapping[str, float]) -> Figure | None:
    """Draw each trial as a line across an axis for each setting, the MAX_AXES most important where there are more, and
    one for the objective; the darker the better."""
    minimizes = sweep.minimizes
    best_first = ranked(trials, sweep)
    if not best_first:
        return None
    important = sorted(sweep.space, key=lambda path: -importances.get(path, 0))[:MAX_AXES]
    paths = [path for path in sweep.space if path in important]
    drawn = [*(trial for trial, _ in best_first), *(trial for trial in trials if trial.state == "pruned")]
    names = labels_of(sweep.space)
    scales = [scale_of(sweep.space[path], [trial.settings.get(path, OFF) for trial in drawn]) for path in paths]
    span = span_of([value for _, value in best_first], minimizes=minimizes)

    def line(trial: Trial) -> list[float]:
        return [scale.place(trial.settings.get(path, OFF)) for path, scale in zip(paths, scales, strict=True)]

    def height(value: float) -> float:
        return (within(value, span, minimizes=minimizes) - span[0]) / (span[1] - span[0])

    figure = Figure(figsize=(max(WIDTH, 1.0 + 1.45 * len(paths)), 5.0), layout="constrained")
    axes = figure.subplots()
    add_lines(axes, [line(trial) for trial in drawn if trial.state == "pruned"], [MAJORITY], label="pruned")
    worst_first = best_first[::-1]
    lines = [[*line(trial), height(value)] for trial, value in worst_first]
    goodness = [1 - at[-1] if minimizes else at[-1] for at in lines]
    add_lines(axes, lines, mpl.colormaps["Blues"](0.22 + 0.58 * np.array(goodness)), label="done, darker is better")
    for trial, value, label, look in marked(best_first):
        axes.plot([*line(trial), height(value)], label=label, zorder=4, ms=6, mec="white", **look)
    for place, scale in enumerate([*scales, Scale.of_numbers(span)]):
        draw_axis(axes, place, scale)
    titles = [*(folded(names[path]) for path in paths), folded(shown(sweep.objectives[0], 0, what="objective"))]
    axes.set_xticks(range(len(titles)), titles, fontsize=9)
    axes.tick_params(axis="x", length=0, labeltop=True, labelbottom=False)
    axes.set(xlim=(-0.45, len(titles) - 0.6), ylim=(-0.2 if any(s.off for s in scales) else -0.05, 1.05), yticks=[])
    title = "Settings of each trial"
    if len(paths) < len(sweep.space):
        title += f": the {len(paths)} of {len(sweep.space)} that matter most"
    axes.set_title(title)
    axes.spines[:].set_visible(False)
    axes.grid(False)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def add_lines(axes: Axes, lines: Sequence[Sequence[float]], colours: Any, *, label: str) -> None:
    """Draw lines across axes that lie one apart."""
    if lines:
        points = [np.column_stack([np.arange(len(line)), line]) for line in lines]
        wide, alpha = (1.3, 0.9) if len(lines) <= MANY else (0.8, max(0.2, 0.9 * (MANY / len(lines)) ** 0.5))
        found = LineCollection(points, colors=colours, linewidths=wide, alpha=alpha, zorder=2)
        axes.add_collection(found, autolim=False)
        axes.plot([], [], color=colours[len(colours) // 2], lw=1.3, label=label)


def marked(best_first: Sequence[tuple[Trial, float]]) -> list[tuple[Trial, float, str, dict[str, Any]]]:
    """Return the trials that stand out, with their values, labels and looks: the present settings, and the best."""
    best, value = best_first[0]
    if best.number == PRESENT:
        return [(best, value, "present settings, the best", {"color": BASELINE, "lw": 2.6, "marker": "o"})]
    present = [one for one in best_first if one[0].number == PRESENT]
    return [
        *((*one, "present settings", {"color": BASELINE, "lw": 2.0, "ls": "--", "marker": "o"}) for one in present),
        (best, value, f"trial {best.number}, the best", {"color": INK, "lw": 2.6, "marker": "o"}),
    ]


def draw_axis(axes: Axes, place: int, scale: Scale) -> None:
    """Draw an upright axis with its values on its left."""
    axes.plot([place, place], [0, 1], color=AXIS, lw=1.1, zorder=3)
    ticks = [*scale.ticks, *([(scale.place(OFF), scale.off)] if scale.off else [])]
    for height, words in ticks:
        axes.plot([place], [height], "_", color=AXIS, ms=6, zorder=3)
        axes.annotate(
            words, (place, height), xytext=(-7, 0), textcoords="offset points", ha="right", va="center", fontsize=8,
            zorder=5, bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.6},
        )  # fmt: skip


def folded(name: str) -> str:
    """Return a long name on two lines, parted at the underscore or dot that is nearest to its middle."""
    places = [at + 1 for at, letter in enumerate(name) if letter in "._" and 0 < at < len(name) - 1]
    if len(name) <= 14 or not places:
        return name
    at = min(places, key=lambda place: abs(place - len(name) / 2))
    return f"{name[:at]}\n{name[at:]}"


def draw_curves(sweep: Sweep, trials: Sequence[Trial]) -> Figure | None:
    """Draw the objective after each look of each trial, the best and the present settings above the others."""
    curves = {trial.number: np.array([one for one in trial.curve if all(map(math.isfinite, one))]) for trial in trials}
    curves = {number: points.clip(-LARGEST, LARGEST) for number, points in curves.items()}
    there = [trial for trial in trials if len(curves[trial.number])]
    if not there:
        return None
    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    axes = figure.subplots()
    looks: dict[State, tuple[str, str]] = {"done": (CLASS, "-"), "pruned": (CONTROL, "--"), "failed": (ALARM, ":")}
    for state, (colour, dash) in looks.items():
        points = [curves[trial.number] for trial in there if trial.state == state]
        if not points:
            continue
        label = f"{state} ({len(points)})"
        lines = LineCollection(points, colors=colour, linestyles=dash, linewidths=1, alpha=0.8, label=label)
        axes.add_collection(lines, autolim=False)
        ends = np.concatenate([one[-1:] for one in points])
        axes.plot(*ends.T, marker=MARKS[state][0], ls="", ms=3.5, color=colour)
    best_first = ranked(trials, sweep)
    for trial, _, label, look in marked(best_first) if best_first else ():
        if len(curves[trial.number]):
            axes.plot(*curves[trial.number].T, label=label, ms=4, mec="white", mew=0.5, zorder=4, **look)
    epochs, values = np.concatenate(list(curves[trial.number] for trial in there)).T
    low, high = span_of(list(values), minimizes=sweep.minimizes_followed)
    pad = 0.04 * (high - low)
    first, last = float(epochs.min()), float(epochs.max())
    beside = 0.03 * (last - first) or 0.5
    if (epochs % 1 == 0).all():
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set(
        xlim=(first - beside, last + beside), ylim=(low - pad, high + pad), xlabel="epoch",
        ylabel=better(sweep.followed, minimizes=sweep.minimizes_followed), title="Course of each trial",
    )  # fmt: skip
    figure.legend(loc="outside lower center", ncols=2)
    return figure
