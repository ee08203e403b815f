"""The plots of a classifier, readable for two classes and for forty; equal figures give equal bytes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from components.evaluate.classification.judged import Found, Judged
from components.evaluate.classification.metrics import calibration_curve, ranking_metrics
from components.evaluate.classification.slices import Slices
from components.plumbing.plots import BASELINE, CLASS, CONTROL, GROUND, INK, MAJORITY, MODEL, shown

METRICS = {"accuracy": "accuracy", "f1_macro": "F1 (macro)", "mcc": "MCC"}
MAX_NAMED_CURVES = 8
MAX_COUNTED_CLASSES = 24
MAX_SLICES = 24
MAX_TICKS = 60
SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)
GRID = np.linspace(0, 1, 401)
COARSE = GRID[::4]
"""The places of a curve that is one of many."""

Curve = tuple[NDArray[np.float64], NDArray[np.float64]]
Kind = Literal["roc_auc", "pr_auc"]
"""Which curve, by the name of the area below it."""


def draw_confusion(judged: Judged, names: Sequence[str]) -> Figure:
    """Draw the confusion matrix: each row is an actual class, the deeper a cell the larger its share of it, with counts
    where they fit."""
    num_classes = len(names)
    counts = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(counts, (judged.actual, judged.predicted), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)

    side = min(max(2.6, 0.42 * num_classes), 11.0)
    margin = 0.095 * max(map(len, names))
    figure = Figure(figsize=(side + margin + 0.9, side + margin + 1.2), layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlim=(-0.5, num_classes - 0.5), ylim=(num_classes - 0.5, -0.5), aspect="equal")
    axes.grid(False)
    axes.spines[:].set_visible(False)
    step = -(-num_classes // MAX_TICKS)
    ticks, size = range(0, num_classes, step), 9 if num_classes <= MAX_COUNTED_CLASSES else 7
    turned = num_classes > 3 or max(map(len, names)) > 12
    axes.set_xticks(ticks, names[::step], fontsize=size, rotation=90 if turned else 0)
    axes.set_yticks(ticks, names[::step], fontsize=size)
    axes.tick_params(length=0)
    axes.set(xlabel="predicted", ylabel="actual")
    axes.set_title("Confusion matrix")
    for row, column in zip(*map(np.ndarray.tolist, np.nonzero(counts)), strict=True):
        share = float(shares[row, column])
        axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, color=MODEL, alpha=share, lw=0))
        if num_classes <= MAX_COUNTED_CLASSES:
            text = f"{counts[row, column]}\n{share:.0%}" if num_classes <= 6 else str(counts[row, column])
            colour = GROUND if share > 0.6 else INK
            axes.text(column, row, text, ha="center", va="center", fontsize=size, color=colour)
    steps = [Rectangle((0, 0), 1, 1, color=MODEL, alpha=share, lw=0) for share in SHARES]
    figure.legend(
        steps, [f"{share:.0%}" for share in SHARES], loc="outside lower center", ncols=len(SHARES), handlelength=1,
        columnspacing=0.8, title="share of the actual class", fontsize=8, title_fontsize=8,
    )  # fmt: skip
    return figure


def draw_curves(
    judged: Judged, found: Found, names: Sequence[str], *, kinds: Sequence[Kind] = ("roc_auc", "pr_auc")
) -> Figure:
    """Draw the ROC or the precision-recall curves, or both, of the model and the baseline, and of each class where
    there are more than two."""
    classes = ranked_classes(judged)
    baseline = ranking_metrics(judged.actual, judged.baseline)(np.ones((len(judged.actual), 1), np.float32))
    figure = Figure(figsize=(5.5 * len(kinds), 5), layout="constrained")
    panels: list[Axes] = figure.subplots(1, len(kinds), squeeze=False)[0].tolist()
    area = "area" if len(classes) == 1 else "mean area"
    one = f" of '{names[1]}'" if len(names) == 2 else ", one class against the rest"
    for axes, name in zip(panels, kinds, strict=True):
        curve_of = CURVES[name]
        curves = {c: curve_of(judged.actual == c, judged.scores[:, c]) for c in classes}
        draw_class_curves(axes, curves, names)
        rival = mean_curve([curve_of(judged.actual == c, judged.baseline[:, c]) for c in classes])
        for curve, colour, width, dash, label in (
            (rival, BASELINE, 1.8, "--", f"{judged.baseline_name}, {area} {baseline[name][0]:.3f}"),
            (mean_curve(list(curves.values())), MODEL, 2.4, "-", f"model, {area} {found[name][0]:.3f}"),
        ):
            axes.plot(*thinned(curve), color=colour, lw=width, ls=dash, label=label)
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02))
        if name == "roc_auc":
            axes.plot([0, 1], [0, 1], color=MAJORITY, lw=1.2, ls=":", label="chance, area 0.500")
            axes.set(xlabel="false positive rate", ylabel="true positive rate", title=f"ROC{one}")
        else:
            chance = float(np.mean([(judged.actual == c).mean() for c in classes]))
            axes.axhline(chance, color=MAJORITY, lw=1.2, ls=":", label=f"chance, area {chance:.3f}")
            axes.set(xlabel="recall", ylabel="precision", title=f"Precision and recall{one}")
        axes.legend(loc="lower right" if name == "roc_auc" else "lower left")
    return figure


def ranked_classes(judged: Judged) -> list[int]:
    """Return the classes whose curves are drawn: the second of two, or each that has rows."""
    present = [c for c in range(len(judged.labels)) if (judged.actual == c).any()]
    return [1] if len(judged.labels) == 2 else present


def roc(positive: NDArray[np.bool_], scores: NDArray[np.float32]) -> Curve:
    """Return the false and the true positive rates, rising."""
    false_rate, true_rate, _ = roc_curve(positive, scores)
    return false_rate, true_rate


def precision_recall(positive: NDArray[np.bool_], scores: NDArray[np.float32]) -> Curve:
    """Return the recall, rising, and the precision at each recall."""
    precision, recall, _ = precision_recall_curve(positive, scores)
    return recall[::-1], precision[::-1]


CURVES: Mapping[Kind, Callable[[NDArray[np.bool_], NDArray[np.float32]], Curve]] = {
    "roc_auc": roc,
    "pr_auc": precision_recall,
}


def mean_curve(curves: Sequence[Curve]) -> Curve:
    """Return a single curve as it is, and otherwise the mean height of several on a common grid."""
    if len(curves) == 1:
        return curves[0]
    heights = [np.interp(GRID, x, y) for x, y in curves]
    return GRID, np.mean(heights, axis=0)


def thinned(curve: Curve) -> Curve:
    """Return the points of a curve that can be told apart: the first of those within a step of GRID in both
    directions, and the last."""
    steps = np.rint(np.stack(curve) * (len(GRID) - 1))  # (2, P)
    kept = np.ones(steps.shape[1], np.bool_)
    kept[1:-1] = (np.diff(steps, axis=1) != 0).any(axis=0)[:-1]
    return curve[0][kept], curve[1][kept]


def draw_class_curves(axes: Axes, curves: dict[int, Curve], names: Sequence[str]) -> None:
    """Draw a thin line for each class where there are several, with its name where they are few."""
    if len(curves) == 1:
        return
    named = len(curves) <= MAX_NAMED_CURVES
    for number, (c, curve) in enumerate(curves.items()):
        colour = f"C{number}" if named else CLASS
        label = names[c] if named else ("each class" if number == 0 else None)
        drawn = thinned(curve) if named else (COARSE, np.interp(COARSE, *curve))
        axes.plot(*drawn, color=colour, lw=0.9, alpha=0.75, label=label)


def draw_calibration(judged: Judged, found: Found, *, num_bins: int) -> Figure:
    """Draw accuracy over confidence, above the number of rows with that confidence; of scores that are calibrated,
    beside what it was before."""
    confidence, accuracy, counts = calibration_curve(judged.actual, judged.scores, num_bins=num_bins).T
    figure = Figure(figsize=(5.6, 6), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    top.plot([0, 1], [0, 1], color=MAJORITY, lw=1.2, ls=":", label="perfectly calibrated")
    top.vlines(confidence, confidence, accuracy, color=BASELINE, lw=1.6, label="gap")
    name, change = "model", ""
    if judged.calibrated is not None:
        name, change = "calibrated", f", before {found['ece_before'][0]:.3f}"
        before = calibration_curve(judged.actual, judged.calibrated.before, num_bins=num_bins)
        top.plot(*before.T[:2], color=CONTROL, lw=1.4, ls="--", marker="s", ms=4, label="before")
    top.plot(confidence, accuracy, color=MODEL, lw=1.6, marker="o", ms=5, label=name)
    top.set(ylabel="accuracy", xlim=(-0.02, 1.02), ylim=(-0.02, 1.04))
    top.set_title(f"Calibration: expected error {found['ece'][0]:.3f}{change}")
    top.legend(loc="upper left")
    edges = np.linspace(0, 1, num_bins + 1)
    bins = np.clip(np.ceil(confidence * num_bins).astype(np.int64) - 1, 0, num_bins - 1)
    bottom.bar(edges[bins], counts, width=0.94 / num_bins, align="edge", color=CLASS)
    bottom.set(xlabel="confidence (the score of the predicted label)", ylabel="rows")
    return figure


def draw_classes(judged: Judged, found: Found, names: Sequence[str], *, confidence: float) -> Figure:
    """Draw the F1 of each class with its interval, the best at the top."""
    f1 = found["class_f1"]
    num_rows = np.bincount(judged.actual, minlength=len(names))
    order: list[int] = np.flatnonzero(~np.isnan(f1[:, 0])).tolist()
    order.sort(key=lambda c: (f1[c, 0], -c))
    figure = Figure(figsize=(7, 1.3 + 0.27 * max(len(order), 2)), layout="constrained")
    axes = figure.add_subplot()
    values, low, high = f1[order].T
    places = np.arange(len(order))
    axes.hlines(places, low, high, color=CLASS, lw=4)
    axes.plot(values, places, "o", color=MODEL, ms=6)
    mean = found["f1_macro"][0]
    axes.axvline(mean, color=BASELINE, lw=1.2, ls="--", zorder=0)
    for place, c in enumerate(order):
        axes.text(1.03, place, f"{f1[c, 0]:.2f}  ({num_rows[c]})", va="center", fontsize=8.5)
    axes.set_yticks(places, [names[c] for c in order], fontsize=9)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.7, len(order) - 0.3), xlabel=f"F1 and its {confidence:.0%} interval")
    axes.set_title(f"F1 of each class (rows); dashed, the mean {mean:.3f}")
    axes.grid(False, axis="y")
    return figure


def draw_comparison(found: Found, *, baseline: str, metric: str, confidence: float) -> Figure:
    """Draw the model beside the baselines, with intervals."""
    systems = {"majority class": ("majority_", MAJORITY), baseline: ("baseline_", BASELINE), "model": ("", MODEL)}
    figure = Figure(figsize=(7, 4.4), layout="constrained")
    axes = figure.add_subplot()
    for number, (system, (prefix, colour)) in enumerate(systems.items()):
        values, low, high = np.array([found[prefix + name] for name in METRICS]).T
        places = np.arange(len(METRICS)) + 0.27 * (number - 1)
        # The interval of a percentile bootstrap need not hold the value itself.
        errors = np.maximum([values - low, high - values], 0)
        axes.bar(places, values, 0.25, color=colour, label=system, yerr=errors, ecolor=INK, capsize=3)
        for place, value, end in zip(places, values, high, strict=True):
            axes.text(place, max(value, end, 0) + 0.015, f"{value:.3f}", ha="center", fontsize=8.5)
    gain, low, high = found["gain"]
    axes.set_title(
        f"Gain over the baseline in {METRICS[metric]}: {gain:+.3f} ({confidence:.0%} {low:+.3f} to {high:+.3f})"
    )
    axes.axhline(0, color=INK, lw=0.8)
    axes.set_xticks(range(len(METRICS)), list(METRICS.values()))
    axes.set(ylim=(min(0, *axes.get_ylim()), 1.12))
    axes.grid(False, axis="x")
    figure.legend(loc="outside lower center")
    return figure


def draw_slices(slices: Slices, baseline: str, *, confidence: float) -> Figure:
    """Draw the accuracy of the model and its rivals on each slice, with intervals, the largest slice on top."""
    systems = {"model": ("accuracy", MODEL), baseline: ("baseline_accuracy", BASELINE)}
    if "control_accuracy" in next(iter(slices.values())):
        systems["without pretraining"] = ("control_accuracy", CONTROL)
    chosen = list(slices.items())[:MAX_SLICES]
    figure = Figure(figsize=(7.5, 1.6 + 0.55 * len(chosen)), layout="constrained")
    axes = figure.add_subplot()
    for number, (system, (key, colour)) in enumerate(systems.items()):
        places = np.arange(len(chosen)) + 0.2 * (number - (len(systems) - 1) / 2)
        values, low, high = (np.array([figures[key + end] for _, figures in chosen]) for end in ("", "_low", "_high"))
        errors = np.maximum([values - low, high - values], 0)
        axes.errorbar(values, places, xerr=errors, fmt="o", ms=6, color=colour, capsize=3, label=system)
    names = [shown(name, number, what="slice") for number, (name, _) in enumerate(chosen)]
    ticks = [f"{name} ({figures['num_rows']})" for name, (_, figures) in zip(names, chosen, strict=True)]
    axes.set_yticks(range(len(chosen)), ticks)
    axes.set_ylim(len(chosen) - 0.4, -0.6)
    axes.set(xlabel=f"accuracy and its {confidence:.0%} interval", title="Accuracy of each slice (rows)")
    axes.grid(False, axis="y")
    figure.legend(loc="outside lower center")
    return figure
