"""The pictures of the report, as SVG to stand inside of a page."""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from components.monitoring.detectors import Finding
from components.monitoring.quality import Judgement
from components.plumbing.pages import LIGHT
from components.plumbing.plots import style, svg_of
from serving.predictors.scores import Scores

WINDOW, REFERENCE, ALARM, INK = (LIGHT[role] for role in ("window", "reference", "alarm", "ink"))
MAX_LABELS = 24


def picture_of(draw: Callable[..., None], *args: object) -> str:
    """Return what a function draws onto a new figure, as SVG without its XML header; the same
    figures give the same bytes."""
    with style(in_page=True):
        figure = Figure(figsize=(6.4, 3.4), layout="constrained")
        draw(figure, *args)
        return svg_of(figure)


def draw_findings(figure: Figure, findings: Sequence[Finding]) -> None:
    """Draw each detector's distance, as a multiple of the value that 99 of 100 windows without drift lie below."""
    axes = figure.add_subplot()
    # An area under the curve counts from chance, and a share of unknown tokens that never occurs has no scale.
    zero = [0.5 if finding.statistic == "auc" else 0.0 for finding in findings]
    scale = [max(finding.distance.null_high - at, 1e-3) for finding, at in zip(findings, zero, strict=True)]
    values = [
        max(0.0, (finding.distance.value - at) / by) for finding, at, by in zip(findings, zero, scale, strict=True)
    ]
    colours = [ALARM if finding.is_alarm else WINDOW for finding in findings]
    axes.barh([finding.detector for finding in findings], values, color=colours)
    axes.axvline(1, color=INK, lw=1, ls=":")
    axes.invert_yaxis()
    axes.set(xlabel="distance, by the 99th percentile of chance", title="What differs")


def draw_distribution(
    figure: Figure, title: str, label: str, window: NDArray[np.float64], reference: NDArray[np.float64]
) -> None:
    """Draw the distribution functions of the window and of the reference."""
    axes = figure.add_subplot()
    for values, colour, name in ((reference, REFERENCE, "reference"), (window, WINDOW, "window")):
        axes.ecdf(values, color=colour, lw=2.2, label=f"{name} ({len(values)})")
    axes.set(xlabel=label, ylabel="share of rows", title=title)
    legend(figure)


def draw_labels(figure: Figure, labels: Sequence[str], window: Scores, reference: Scores) -> None:
    """Draw the share of each predicted label; the MAX_LABELS commonest, where there are more."""
    num_labels = len(labels)
    both = [
        np.bincount(scores.argmax(axis=1), minlength=num_labels) / max(len(scores), 1) for scores in (reference, window)
    ]
    order: list[int] = np.argsort(-(both[0] + both[1]), kind="stable")[:MAX_LABELS].tolist()
    axes = figure.add_subplot()
    place = np.arange(len(order))
    for offset, shares, colour, name in ((-0.2, both[0], REFERENCE, "validation"), (0.2, both[1], WINDOW, "window")):
        axes.bar(place + offset, shares[order], width=0.4, color=colour, label=name)
    turned = 90 if len(order) > 6 else 0
    axes.set_xticks(place, [labels[index][:22] for index in order], rotation=turned)
    axes.set(ylabel="share of rows", title="Predicted labels")
    legend(figure)


def legend(figure: Figure) -> None:
    """Put the legend below the axes, where nothing is drawn."""
    figure.legend(loc="outside lower center", ncols=2)


def draw_calibration(figure: Figure, judgement: Judgement) -> None:
    """Draw accuracy by confidence, for the rows that have feedback."""
    axes = figure.add_subplot()
    confidence, accuracy, count = judgement.curve.T
    axes.plot([0, 1], [0, 1], color=REFERENCE, lw=1.2, ls=":")
    axes.scatter(confidence, accuracy, s=20 + 180 * count / count.max(), color=WINDOW)
    axes.set(
        xlabel="confidence",
        ylabel="accuracy",
        title="Calibration, where feedback exists",
        xlim=(0, 1.03),
        ylim=(0, 1.03),
    )


def draw_latency(figure: Figure, latencies_ms: Sequence[float]) -> None:
    """Draw the distribution of latencies, in ms."""
    axes = figure.add_subplot()
    axes.ecdf(np.array(latencies_ms), color=WINDOW, lw=2.2)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set(xlabel="milliseconds inside the service", ylabel="share of requests", title="Latency")
