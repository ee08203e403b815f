"""The slices and suspected labels that were found, as parts of the report's page."""

from html import escape

from components.evaluate.classification.finding.label_errors import TABLE, SuspectedLabels
from components.evaluate.classification.finding.plots import MAX_SLICES, draw_found_slices
from components.evaluate.classification.finding.slices import FoundSlices, in_words, verdict
from components.plumbing.pages import Part, span, table, themed
from components.plumbing.plots import read_as, style, svg_of

SLICES, LABELS = "Slices found", "Labels suspected"
"""The titles of the parts."""
SURELY = "surely worse"


def found_slices_part(found: FoundSlices) -> Part:
    """Return the worst slices as a part: the verdict, the picture, and a table."""
    kinds = ", ".join(f"{count} by {kind}" for kind, count in found.looked_at.items())
    said = verdict(found)
    body = (
        f"<p>{span(said[:1].upper() + said[1:], 'alarm' if found.num_surely_worse else 'good')}"
        f"{f' ({escape(kinds)})' if kinds else ''}. "
        f"Of the {found.num_rows:,} test rows {found.accuracy:.1%} are right. The intervals and the verdict are "
        f"corrected for how many were looked at: all hold at once with {found.confidence:.0%}.</p>\n"
    )
    if not found.slices:
        return Part(SLICES, f"{body}<p>No slice lies below the rest.</p>\n")
    with style(in_page=True):
        picture = read_as(themed(svg_of(draw_found_slices(found))), picture_in_words(found))
    head = ("slice", "rows", "accuracy", "interval", "the rest", "p, corrected", "", "mistakes (rows)")
    rows = (
        (
            in_words(one.kind, one.name),
            f"{one.num_rows:,}",
            f"{one.accuracy:.3f}",
            f"{one.accuracy_low:.3f} to {one.accuracy_high:.3f}",
            f"{one.rest_accuracy:.3f}",
            f"{one.p_corrected:.2g}",
            SURELY if one.is_surely_worse else "",
            ", ".join(map(str, one.mistakes)),
        )
        for one in found.slices
    )
    return Part(SLICES, f"{body}{picture}\n{table(head, rows, kinds={SURELY: 'alarm'})}\n")


def picture_in_words(found: FoundSlices) -> str:
    """Return what the picture says."""
    told = "; ".join(
        f"{in_words(one.kind, one.name)} {one.accuracy:.3f} ({one.accuracy_low:.3f} to {one.accuracy_high:.3f}) of "
        f"{one.num_rows:,} rows{f', {SURELY}' if one.is_surely_worse else ''}"
        for one in found.slices[:MAX_SLICES]
    )
    return f"The accuracy of slices with its interval, beside {found.accuracy:.3f} of all rows: {told}."


def label_errors_part(found: SuspectedLabels) -> Part:
    """Return the suspected labels as a part: how they were found, and a table of the most suspected."""
    splits = ", ".join(f"{count:,} {name}" for name, count in found.splits.items())
    agrees = (
        f" For {found.num_model_agrees:,} of them, test rows, the model suggests the same." if found.suspects else ""
    )
    body = (
        f"<p>{found.num_suspected:,} of {found.num_rows:,} labels ({escape(splits)}) are suspected by a "
        f"{escape(found.classifier)} in cross-validation, which gives {found.accuracy:.1%} of all labels as they are."
        f"{agrees} A suspicion is no proof: read the row. All are in results/{TABLE}.</p>\n"
    )
    if not found.suspects:
        return Part(LABELS, body)
    has_texts = any(one.text is not None for one in found.suspects)
    head = ("row", "split", "label", "suggested", "confidence", "the model", *(("text",) if has_texts else ()))
    rows = (
        (
            f"{one.row}",
            one.split,
            one.given,
            one.suggested,
            f"{one.confidence:.2f}",
            {True: "agrees", False: "does not", None: ""}[one.model_agrees],
            *((one.text or "",) if has_texts else ()),
        )
        for one in found.suspects
    )
    return Part(LABELS, f"{body}{table(head, rows)}\n")
