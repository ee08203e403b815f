"""The appearance of plots, on paper and in a page; equal figures give equal bytes, on every machine.

Only the font that matplotlib ships is used; a label that it cannot draw is shown by its number.
"""

import io
import re
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font

from components.plumbing.pages import LIGHT, themed

FONT = "DejaVu Sans"
MODEL, BASELINE, CONTROL, MAJORITY, CLASS, INK, GROUND = (
    LIGHT[role] for role in ("window", "baseline", "control", "majority", "class", "ink", "ground")
)
MAX_LABEL = 22
STYLE: dict[Any, Any] = {
    "font.family": FONT,
    "font.size": 10,
    "text.parse_math": False,  # a label may hold a dollar sign
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "legend.frameon": False,
}
ON_PAPER: dict[Any, Any] = {
    "text.color": INK,
    "axes.edgecolor": "#8a94a0",
    "axes.labelcolor": INK,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "grid.color": "#e7eaee",
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.fontsize": 9,
    "savefig.dpi": 130,
}
IN_PAGE: dict[Any, Any] = {
    "text.color": LIGHT["ink"],
    "axes.edgecolor": LIGHT["faint"],
    "axes.labelcolor": LIGHT["ink"],
    "grid.color": LIGHT["line"],
    "xtick.color": LIGHT["faint"],
    "ytick.color": LIGHT["faint"],
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "svg.hashsalt": "modelyard",
    "svg.fonttype": "path",
}
PAGE_INCHES = 5.4
"""The width of a plot in a page, at which a phone shows it with letters that can be read."""
OUTLINE = re.compile(r' d="[^"]*"')
DECIMALS = re.compile(r"-?\d+\.\d+")


@dataclass(frozen=True)
class Drawing:
    """A plot that is drawn for paper, as a PNG, or for a page, as SVG, by the same function."""

    draw: Callable[[], Figure]
    """A function that draws it anew, in the appearance that is set."""
    words: str
    """What it shows, in one or two sentences, which stand below it in a page."""
    is_wide: bool = False
    """Whether it keeps its size in a page, and is scrolled where that is too wide."""


@contextmanager
def style(*, in_page: bool = False) -> Generator[None]:
    """Set the appearance of what is drawn and saved in the block, whatever the user's own settings are.

    It is that of a plot on paper, or, with `in_page`, of a plot in a page, which may be dark, so that the background is
    transparent.
    """
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE | (IN_PAGE if in_page else ON_PAPER))
        yield


def save(figure: Figure, path: Path) -> None:
    """Write the figure as a PNG, without a note on the program that made it."""
    figure.savefig(path, metadata={"Software": None})


def save_drawings(folder: Path, drawings: Mapping[str, Drawing]) -> None:
    """Write each drawing into the folder as a PNG of its name."""
    with style():
        for name, drawing in drawings.items():
            save(drawing.draw(), folder / f"{name}.png")


def figure_of(drawing: Drawing) -> str:
    """Return a drawing as HTML, with its words below it; the words stand for its titles, too."""
    with style(in_page=True):
        figure = drawing.draw()
        if not drawing.is_wide:
            figure.set_size_inches(min(PAGE_INCHES, figure.get_figwidth()), figure.get_figheight())
        for axes in figure.axes:
            for place in ("left", "center", "right"):
                axes.set_title("", loc=place)
        named = read_as(themed(svg_of(figure)), drawing.words)
    focus = ' tabindex="0" role="region" aria-label="A wide drawing"' if drawing.is_wide else ""
    return (
        f'<figure style="--inches: {figure.get_figwidth():g}"><div class="scroll"{focus}>{named}</div>'
        f'<figcaption aria-hidden="true">{escape(drawing.words)}</figcaption></figure>\n'
    )


def read_as(svg: str, words: str) -> str:
    """Return a drawing in SVG with the words that a screen reader reads in its place."""
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(words)}"', 1)


def svg_of(figure: Figure) -> str:
    """Return the figure as SVG for a page, without its XML header; outlines are as fine as a hundredth of a point."""
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = out.getvalue()
    svg = re.sub(r'<g id="[^"]*"', "<g", text[text.index("<svg") :])  # nothing asks for a group by its name
    return OUTLINE.sub(lambda outline: DECIMALS.sub(lambda one: f"{float(one[0]):z.2f}", outline[0]), svg)


def shown(label: str, label_id: int, *, what: str = "class", max_letters: int = MAX_LABEL) -> str:
    """Return a label as a plot can show it: on one line, shortened to `max_letters`, in letters that the font has.

    A label that is empty or has other letters is shown as `what` and its number.
    """
    text = " ".join(label.split())
    known = get_font(findfont(FONT)).get_charmap()
    if not text or any(ord(letter) not in known for letter in text):
        return f"{what} {label_id}"
    return text if len(text) <= max_letters else text[: max_letters - 1] + "…"
