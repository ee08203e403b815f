"""The look of the pages that are made: one HTML document that loads nothing from anywhere, for a phone and for paper,
light and dark."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

# Colour by role, light and dark; what draws uses the light ones, which `themed` makes follow the reader's.
LIGHT: Mapping[str, str] = {
    "ground": "#ffffff", "ink": "#22303c", "faint": "#586573", "line": "#e1e5ea", "window": "#1f5fa8",
    "reference": "#9aa4b0", "alarm": "#c0392b", "warning": "#8f5706", "good": "#2a7046",
    "baseline": "#dd8a2f", "control": "#6aa384", "majority": "#b4bcc6", "class": "#a9c4e4",
}  # fmt: skip
DARK: Mapping[str, str] = {
    "ground": "#14181c", "ink": "#e6eaee", "faint": "#a5b0bb", "line": "#333c45", "window": "#7fb2f0",
    "reference": "#717e8c", "alarm": "#ff9d92", "warning": "#eeb765", "good": "#85cfa2",
    "baseline": "#e59a48", "control": "#74b391", "majority": "#646f7b", "class": "#41628c",
}  # fmt: skip

STYLE = """
:root { color-scheme: light dark; LIGHT }
@media (prefers-color-scheme: dark) { :root { DARK } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--ground); max-width: 66rem;
  margin: 2rem auto; padding: 0 1rem }
h1, h2, h3 { line-height: 1.25; overflow-wrap: anywhere }
.scroll { overflow-x: auto }
table { border-collapse: collapse }
td, th { padding: .3rem 1rem .3rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line) }
th { color: var(--faint); font-weight: 600 }
td { overflow-wrap: break-word; white-space: pre-line; max-width: 22rem } td span { white-space: nowrap }
.note { color: var(--faint) } .alarm { color: var(--alarm) } .warning { color: var(--warning) }
.good { color: var(--good) }
.pictures { display: flex; flex-wrap: wrap; gap: 1rem }
svg { width: 30rem; max-width: 100%; height: auto }
caption { text-align: left; max-width: calc(100vw - 2rem); color: var(--faint); padding-bottom: .3rem }
figure { margin: 1rem 0 } figcaption { color: var(--faint); max-width: 44rem; font-size: .93rem }
.scroll:has(table) { margin: 1rem 0 }
figure svg { display: block; width: calc(var(--inches) * 88px); min-width: calc(var(--inches) * 63px) }
img { image-rendering: pixelated; max-width: 100%; height: auto; background: #fff }
a { color: var(--window) } p, li { max-width: 44rem } code { overflow-wrap: anywhere }
.contents { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; padding: 0; list-style: none }
.contents a { display: inline-block; padding: .2rem 0 } .lead { font-size: 1.05rem }
.quotes { padding-left: 1.4rem } .quotes p { margin: .2rem 0 } .quotes li { margin-bottom: 1rem }
.text { white-space: pre-line; overflow-wrap: anywhere }
summary { cursor: pointer; padding: .3rem 0 }
"""

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
"""The Content-Security-Policy of every page: it asks nobody for anything and runs no script, whatever a row of the data
holds. Drawings say their colours in their elements, so styles are not named by their digests."""


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
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f'<link rel="icon" href="data:,"><title>{escape(title)}</title>\n<style>{style}</style></head><body>\n'
        f"<h1>{heading}</h1>\n{body}\n</body></html>\n"
    )


def span(words: str, kind: str) -> str:
    return f'<span class="{kind}">{escape(words)}</span>'


def bullets(lines: Sequence[str], kind: str) -> str:
    items = "".join(f'<li class="{kind}">{escape(line)}</li>' for line in lines)
    return f"<ul>{items}</ul>\n" if items else ""


def table(
    head: Iterable[str], rows: Iterable[Iterable[str]], *, kinds: Mapping[str, str] | None = None, caption: str = ""
) -> str:
    """Return a table as HTML; a cell that is a key of `kinds` has the look of its value.
    Without titles it has no head; the caption says what the table holds."""
    looks = kinds or {}
    top = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{span(cell, looks[cell]) if cell in looks else escape(cell)}</td>" for cell in row)
        + "</tr>\n"
        for row in rows
    )  # fmt: skip
    said = f"<caption>{escape(caption)}</caption>" if caption else ""
    name = f' role="region" aria-label="{escape(caption)}"' if caption else ""
    first = f"<tr>{top}</tr>" if top else ""
    return f'<div class="scroll" tabindex="0"{name}><table>{said}{first}\n{body}</table></div>'


def image(png: bytes, *, words: str, width: int) -> str:
    """Return a PNG as a part of the page, `width` pixels wide where there is room; `words` say what it shows."""
    data = base64.b64encode(png).decode("ascii")
    return f'<img alt="{escape(words)}" width="{width}" src="data:image/png;base64,{data}">'


def themed(svg: str) -> str:
    """Return a drawing in the light colours as one that takes the dark ones where its page does."""
    for role, colour in LIGHT.items():
        svg = svg.replace(f": {colour}", f": var(--{role})")
    return svg
