"""The look of the pages that are left in `observations/`: one HTML document that loads nothing from anywhere, for a
phone and for paper, light and dark."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

# Colour by role, light and dark; what draws uses the light ones, which `themed` makes follow the reader's.
LIGHT: Mapping[str, str] = {
    "ground": "#ffffff", "ink": "#22303c", "faint": "#586573", "line": "#e1e5ea", "window": "#1f5fa8",
    "reference": "#9aa4b0", "alarm": "#c0392b", "warning": "#8f5706", "good": "#2a7046",
}  # fmt: skip
DARK: Mapping[str, str] = {
    "ground": "#14181c", "ink": "#e6eaee", "faint": "#a5b0bb", "line": "#333c45", "window": "#7fb2f0",
    "reference": "#717e8c", "alarm": "#ff9d92", "warning": "#eeb765", "good": "#85cfa2",
}  # fmt: skip

STYLE = """
:root { color-scheme: light dark; LIGHT }
@media (prefers-color-scheme: dark) { :root { DARK } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--ground); max-width: 66rem;
  margin: 2rem auto; padding: 0 1rem }
h1, h2 { line-height: 1.25; overflow-wrap: anywhere }
.scroll { overflow-x: auto }
table { border-collapse: collapse }
td, th { padding: .3rem 1rem .3rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line) }
th { color: var(--faint); font-weight: 600 }
td { overflow-wrap: break-word; white-space: pre-line; max-width: 22rem } td span { white-space: nowrap }
.note { color: var(--faint) } .alarm { color: var(--alarm) } .warning { color: var(--warning) }
.good { color: var(--good) }
.pictures { display: flex; flex-wrap: wrap; gap: 1rem }
svg { width: 30rem; max-width: 100%; height: auto }
"""


@dataclass(frozen=True)
class Part:
    """A part of a page, below a heading of its own."""

    title: str
    """The heading, as plain text."""
    body: str
    """What stands below it, as HTML."""


def document(title: str, heading: str, body: str) -> str:
    """Return a page as HTML; `heading` and `body` are HTML, too."""
    style = STYLE
    for name, colours in (("LIGHT", LIGHT), ("DARK", DARK)):
        style = style.replace(name, " ".join(f"--{role}: {colour};" for role, colour in colours.items()))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">\n'
        f'<link rel="icon" href="data:,"><title>{escape(title)}</title>\n<style>{style}</style></head><body>\n'
        f"<h1>{heading}</h1>\n{body}\n</body></html>\n"
    )


def span(words: str, kind: str) -> str:
    return f'<span class="{kind}">{escape(words)}</span>'


def bullets(lines: Sequence[str], kind: str) -> str:
    items = "".join(f'<li class="{kind}">{escape(line)}</li>' for line in lines)
    return f"<ul>{items}</ul>\n" if items else ""


def table(head: Iterable[str], rows: Iterable[Iterable[str]], *, kinds: Mapping[str, str] | None = None) -> str:
    """Return a table as HTML; a cell that is a key of `kinds` has the look of its value.
    Without titles it has no head."""
    looks = kinds or {}
    top = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{span(cell, looks[cell]) if cell in looks else escape(cell)}</td>" for cell in row)
        + "</tr>\n"
        for row in rows
    )  # fmt: skip
    return f'<div class="scroll" tabindex="0"><table>{f"<tr>{top}</tr>" if top else ""}\n{body}</table></div>'


def themed(svg: str) -> str:
    """Return a drawing in the light colours as one that takes the dark ones where its page does."""
    for role, colour in LIGHT.items():
        svg = svg.replace(f": {colour}", f": var(--{role})")
    return svg
