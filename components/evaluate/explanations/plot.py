"""The perturbation curves of each method beside its controls."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from components.evaluate.explanations.faithfulness import KINDS, RANDOM
from components.evaluate.explanations.study import METHODS, OF_RANDOM_WEIGHTS
from components.evaluate.explanations.tables import Found
from components.plumbing.plots import BASELINE, MAJORITY, MODEL

COLOURS = dict(zip(METHODS, (MODEL, BASELINE, MODEL), strict=True))
TITLES = {
    "comprehensiveness": "Lost without the strongest {parts}",
    "sufficiency": "Given back by the strongest {parts} alone",
}


def draw_curves(found: Found) -> Figure:
    """Draw, for each share of the parts that are taken away or kept, the share of the score's room that is lost or
    given back; the figures of the report are the means of these points."""
    figure = Figure(figsize=(9.2, 3.9), layout="constrained")
    for axes, kind in zip(figure.subplots(1, 2, sharey=True), KINDS, strict=True):
        draw_kind(axes, found, kind)
    return figure


def draw_kind(axes: Axes, found: Found, kind: str) -> None:
    shares = [100 * share for share in found["shares"]]
    for order, curves in found["curves"].items():
        name = order.removesuffix(OF_RANDOM_WEIGHTS)
        of_random_weights = order.endswith(OF_RANDOM_WEIGHTS)
        called = "a random order" if order == RANDOM else METHODS[name] + ", random weights" * of_random_weights
        values = [float("nan") if value is None else value for value in curves[kind]]
        axes.plot(
            shares, values, color=COLOURS.get(name, MAJORITY), label=called, marker="" if of_random_weights else "o",
            markersize=4, linestyle=":" if of_random_weights else "-", linewidth=1.2 if of_random_weights else 2,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xticks(shares, [f"{share:g} %" for share in shares])
    axes.minorticks_off()
    axes.set_title(TITLES[kind].format(parts=found["parts"]))
    axes.set_xlabel(f"Share of a row's {found['parts']}")
    if kind == KINDS[0]:
        axes.set_ylabel("Share of the score's room")
        axes.legend()
