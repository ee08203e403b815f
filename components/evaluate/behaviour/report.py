"""The report on the checks of behaviour: a table, a plot, a part of the report's page, and the limits."""

from dataclasses import asdict
from html import escape
from pathlib import Path

from matplotlib.figure import Figure

from components.evaluate.behaviour.checks import Behaved, Example, Finding
from components.evaluate.stage import Outputs
from components.plumbing.artifacts import write_json
from components.plumbing.pages import LIGHT, Part, table, themed
from components.plumbing.plots import read_as, save, shown, style, svg_of

TABLE, PLOT = "behaviour.json", "behaviour.png"
BROKEN, HELD = "broken", "held"
LOOKS = {BROKEN: "alarm", HELD: "good"}
FAILS_WHERE = {
    "invariance": "the label changes",
    "negation": "the label stays, and its score falls too little",
    "intensifiers": "the label changes, or its score falls too far",
    "minimum": "the label is another",
}
"""What counts as a failure, by the kind of a check of direction, or by the test that a check is."""


def write_behaviour(outputs: Outputs, found: Behaved) -> None:
    """Write what the checks found, results/behaviour.json, and the plot of it, plots/behaviour.png."""
    write_json(outputs.results / TABLE, asdict(found))
    draw_behaviour(outputs.plots / PLOT, found)


def draw_behaviour(path: Path, found: Behaved) -> None:
    with style():
        save(draw(found), path)


def draw(found: Behaved) -> Figure:
    """Draw the share of failures of each check with its interval, and its limit as a bar."""
    checks = found.checks
    figure = Figure(figsize=(7.2, 1.5 + 0.36 * len(checks)), layout="constrained")
    axes = figure.add_subplot()
    for place, check in enumerate(checks):
        colour = LIGHT["alarm"] if check.is_broken else LIGHT["window"]
        axes.plot([check.share_low, check.share_high], [place, place], color=colour, lw=2)
        axes.plot([check.share], [place], "o", color=colour, ms=6)
        if check.max_failures is not None:
            axes.plot([check.max_failures], [place], "|", color=LIGHT["ink"], ms=16, mew=2)
    names = [shown(check.name, place + 1, what="check") for place, check in enumerate(checks)]
    axes.set_yticks(range(len(checks)), names)
    axes.set_ylim(len(checks) - 0.5, -0.5)
    axes.set_xlim(left=-0.005)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    limits = "; upright: its limit" if any(check.max_failures is not None for check in checks) else ""
    axes.set(
        xlabel=f"texts that fail, with {found.confidence:.0%} interval{limits}",
        title="Behaviour where texts are changed, or plain",
    )
    return figure


def in_words(found: Behaved) -> str:
    """Return what the drawing says."""
    told = "; ".join(f"{check.name} {told_share(check)}{beside_limit(check)}" for check in found.checks)
    return f"The share of texts on which each check fails, with its {found.confidence:.0%} interval: {told}."


def beside_limit(check: Finding) -> str:
    if check.max_failures is None:
        return ""
    return f", {'above' if check.is_broken else 'within'} its limit {check.max_failures:.1%}"


def faults_of(found: Behaved) -> list[str]:
    """Return the checks that more texts fail than the recipe allows, each in words with its figures."""
    return [
        f"the check '{check.name}' of evaluate.behaviour fails on {told_share(check)}, above its max_failures "
        f"{check.max_failures:g}; results/{TABLE} has examples"
        for check in found.checks
        if check.is_broken
    ]


def told_share(check: Finding) -> str:
    return (
        f"{check.num_failures} of {check.num_texts} texts ({check.share:.1%}, interval {check.share_low:.1%} to "
        f"{check.share_high:.1%})"
    )


def part(found: Behaved) -> Part:
    """Return the part of the report's page on the checks: a plot, a table, and examples of failures."""
    head = (
        "check",
        "fails where",
        "texts",
        "fail",
        f"{found.confidence:.0%} interval",
        "limit",
        "",
        "mean change",
        "unseen",
    )
    rows = [
        (
            check.name,
            FAILS_WHERE[check.kind if check.test == "direction" else check.test],
            f"{check.num_texts:,}",
            f"{check.share:.1%}",
            f"{check.share_low:.1%} to {check.share_high:.1%}",
            "" if check.max_failures is None else f"{check.max_failures:.1%}",
            "" if check.max_failures is None else BROKEN if check.is_broken else HELD,
            "" if check.mean_change is None else f"{check.mean_change:+.3f}",
            "" if check.num_unseen is None else f"{check.num_unseen:,}",
        )
        for check in found.checks
    ]
    with style(in_page=True):
        plot = read_as(themed(svg_of(draw(found))), in_words(found))
    note = (
        '<p class="note">After CheckList (Ribeiro et al. 2020). The change is that of the score of the label given '
        "before; unseen are texts that look the same to the model after it. Texts are rows of the test split unless "
        "the recipe gives its own.</p>\n"
    )
    return Part("Behaviour", plot + note + table(head, rows, kinds=LOOKS) + "".join(map(examples_of, found.checks)))


def examples_of(check: Finding) -> str:
    """Return the examples of a check's failures as HTML, folded; nothing where no text fails."""
    if not check.examples:
        return ""
    summary = f"{check.name}: {len(check.examples)} of {check.num_failures} failures"
    rows = [(*side(one), *([] if one.after is None else changed_side(one))) for one in check.examples]
    head = (
        ("text", "label", "score")
        if check.test == "minimum"
        else ("before", "label", "score", "after", "label", "score")
    )
    return f"<details><summary>{escape(summary)}</summary>\n{table(head, rows)}</details>\n"


def side(one: Example) -> tuple[str, str, str]:
    return one.before, one.label, f"{one.score:.3f}"


def changed_side(one: Example) -> tuple[str, str, str]:
    return one.after or "", one.label_after or "", f"{one.score_after or 0:.3f}"
