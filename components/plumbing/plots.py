"""The appearance of plots, on paper and in a page; equal figures give equal bytes, on every machine.

Only the font that matplotlib ships is used; a label that it cannot draw is shown by its number.
"""

import io
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font

from components.plumbing.pages import LIGHT

FONT = "DejaVu Sans"
MODEL, BASELINE, CONTROL, MAJORITY, CLASS = "#1f5fa8", "#dd8a2f", "#6aa384", "#b4bcc6", "#a9c4e4"
INK = "#22303c"
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


def svg_of(figure: Figure) -> str:
    """Return the figure as SVG for a page, without its XML header."""
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = out.getvalue()
    return text[text.index("<svg") :]


def shown(label: str, label_id: int, *, what: str = "class", max_letters: int = MAX_LABEL) -> str:
    """Return a label as a plot can show it: on one line, shortened to `max_letters`, in letters that the font has.

    A label that is empty or has other letters is shown as `what` and its number.
    """
    text = " ".join(label.split())
    known = get_font(findfont(FONT)).get_charmap()
    if not text or any(ord(letter) not in known for letter in text):
        return f"{what} {label_id}"
    return text if len(text) <= max_letters else text[: max_letters - 1] + "…"
