"""The verdict as a page, `data_docs.html`: the failed expectations with examples and advice, then those that hold.

It replaces Great Expectations' own Data Docs, which load their styles and scripts from the web and are empty without
it.
"""

from collections.abc import Sequence

from components.plumbing.pages import document, span, table
from components.validate.expectations import percent
from components.validate.judging import Judged
from components.validate.showing import FAILED, HOLDS, heading, rows_of
from components.validate.tables import Class

KINDS = {FAILED: "alarm", HOLDS: "good"}


def page_of(judged: Sequence[Judged], classes: Sequence[Class], *, num_rows: int) -> str:
    """Return the page as HTML; it contains the verdict's examples of texts and labels."""
    failed = [one for one in judged if not one.success]
    said = heading(judged)
    parts = [f"<p>{num_rows:,} rows were judged, before anything was made of them.</p>"]
    if failed:
        head = ("", "expectation", "found", "examples and advice")
        parts.append(f"<h2>What fails</h2>\n{table(head, rows_of(failed), kinds=KINDS)}")
    if holding := [one for one in judged if one.success]:
        cells = [row[:3] for row in rows_of(holding)]
        parts.append(f"<h2>What holds</h2>\n{table(('', 'expectation', 'found'), cells, kinds=KINDS)}")
    if classes:
        rows = [(one.label, f"{one.num_rows:,}", percent(one.share)) for one in classes]
        parts.append(f"<h2>Classes</h2>\n{table(('label', 'rows', 'of the rows with a label'), rows)}")
    return document(
        f"Data contract: {said}", f"Data contract: {span(said, 'alarm' if failed else 'good')}", "\n".join(parts)
    )
