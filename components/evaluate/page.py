"""The page on a model: what was measured, beside what, and whether it passed its gate, in `results/report.html`.

It is one HTML document that loads nothing from anywhere, and equal figures give equal bytes: it names no time, no
machine and no path. Each part of it is made from one kind of finding, by a function of its own.
"""

import re
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from components.plumbing.artifacts import write_text
from components.plumbing.pages import Part, document, span

UNKNOWN = "\N{EN DASH}"
JOINED = "\N{NO-BREAK SPACE}"
MAX_SHOWN = 1000
"""The most characters of a text of the data that the page shows."""


def write_page(
    path: Path, *, title: str, headline: Sequence[str], faults: Sequence[str], parts: Sequence[Part]
) -> None:
    """Write the page, whole or not at all.

    `headline` holds the sentences of its first paragraph, and `faults` says why the model failed its gate: empty where
    it passed.
    """
    said, kind = ("did not pass its gate", "alarm") if faults else ("passed its gate", "good")
    why = [span(f"It did not pass its quality gate, and is not served: {'; and '.join(faults)}.", "alarm")]
    passed = [span("It passed its quality gate.", "good")]
    first = " ".join([*(why if faults else ()), *map(escape, headline), *(() if faults else passed)])
    names = anchors(part.title for part in parts)
    contents = "".join(
        f'<li><a href="#{name}">{escape(part.title)}</a></li>' for name, part in zip(names, parts, strict=True)
    )
    sections = "".join(
        f'<section aria-labelledby="{name}">\n<h2 id="{name}">{escape(part.title)}</h2>\n{part.body}\n</section>\n'
        for name, part in zip(names, parts, strict=True)
    )
    body = (
        f'<p class="lead">{first}</p>\n<nav aria-label="Contents"><ul class="contents">{contents}</ul></nav>\n'
        f"<main>\n{sections}</main>"
    )
    write_text(path, document(f"{title}: {said}", f"{escape(title)}: {span(said, kind)}", body))


def anchors(titles: Iterable[str]) -> list[str]:
    """Return a name for each heading by which a link finds it, each another."""
    found: list[str] = []
    for title in titles:
        words = "-".join(re.findall(r"[a-z0-9]+", title.lower())) or "part"
        while words in found:
            words += "-too"
        found.append(words)
    return found


def paragraphs(*lines: str) -> str:
    """Return sentences of plain text as HTML, a paragraph each."""
    return "".join(f"<p>{escape(line)}</p>\n" for line in lines)


def told(triple: Iterable[float], *, digits: int = 3) -> str:
    """Return a figure with the ends of its interval in brackets, or a dash where it is undefined."""
    value, low, high = triple
    if value != value:
        return UNKNOWN
    if low != low:
        return f"{value:z.{digits}f}"
    return f"{value:z.{digits}f} ({low:z.{digits}f}{JOINED}to{JOINED}{high:z.{digits}f})"


def cut(text: str) -> str:
    """Return the beginning of a text that is too long to be shown whole."""
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"


def quoted(text: str) -> str:
    """Return a text of the data as HTML that shows it as it is."""
    return f'<p class="text" dir="auto">{escape(cut(text))}</p>'


def item(shown: str, note: str) -> str:
    """Return what is shown, as HTML, and a note on it, as an item of a list of the class `quotes`."""
    return f'<li>{shown}<p class="note">{escape(note)}</p></li>\n'


def champion_part(title: str) -> str:
    """Return where this model is compared with the one that is served, as HTML.

    The stage does not know that model: what it finds hangs on the rows and the settings alone.
    """
    return (
        "<p>No version that is served already is among them: that comparison is made on rows that neither was trained "
        f"on, when this model is to take its place. <code>modelyard promote {escape(title)}</code> makes it, and "
        f"<code>modelyard ledger {escape(title)}</code> says what was decided.</p>\n"
        "<p>The figures are those of the model before it was compressed; the card beside the served model says how far "
        "the compressed one is from it.</p>\n"
    )
