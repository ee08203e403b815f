"""One HTML page on a window: the verdict, its reasons, every figure, and pictures. It loads nothing from anywhere, and
holds no text of a user's."""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from components.artifacts import disk_errors
from components.monitoring.plots import (
    draw_calibration,
    draw_distribution,
    draw_findings,
    draw_labels,
    draw_latency,
    svg_of,
)
from components.monitoring.reference import Reference
from components.monitoring.verdict import Verdict, scores_of
from components.monitoring.windows import Window

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{recipe}: {state}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; color: #22303c; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }}
table {{ border-collapse: collapse }} td, th {{ padding: .2rem .9rem .2rem 0; text-align: left }}
.drift, .alarm {{ color: #c0392b }} .degraded {{ color: #a8680c }} .steady {{ color: #2f7d4f }}
.pictures {{ display: flex; flex-wrap: wrap; gap: 1rem }} svg {{ max-width: 30rem; height: auto }}
</style></head><body>
<h1>{recipe}: <span class="{kind}">{state}</span></h1>
<p>{num_rows} rows that version {version} answered, from {first} to {newest}.</p>
{reasons}{notes}
<h2>What was compared</h2>
{findings}
<h2>Answers and service</h2>
{figures}
<div class="pictures">
{pictures}
</div></body></html>
"""


def write_report(path: Path, recipe: str, verdict: Verdict, window: Window, reference: Reference | None) -> None:
    """Write the page, whole or not at all."""
    page = PAGE.format(
        recipe=escape(recipe),
        state=verdict.state,
        kind=verdict.state.replace(" ", "-"),
        num_rows=verdict.num_rows,
        version=escape(verdict.version),
        first=verdict.first[:19],
        newest=verdict.newest[:19],
        reasons=bullets(verdict.reasons, "alarm"),
        notes=bullets(verdict.notes, "note"),
        findings=findings_table(verdict),
        figures=table(("", ""), figure_rows(verdict)),
        pictures="\n".join(pictures(verdict, window, reference)),
    )
    partial = path.with_name(f".{path.name}.partial")
    with disk_errors(path):
        partial.write_text(page, encoding="utf-8")
        partial.replace(path)


def bullets(lines: Sequence[str], kind: str) -> str:
    items = "".join(f'<li class="{kind}">{escape(line)}</li>' for line in lines)
    return f"<ul>{items}</ul>\n" if items else ""


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>\n" for row in rows)
    return f"<table><tr>{top}</tr>\n{body}</table>"


def findings_table(verdict: Verdict) -> str:
    if not verdict.findings:
        return "<p>Nothing: there are too few rows, or nothing to compare them with.</p>"
    head = ("", "statistic", "value", "by chance", "99 % below", "p", "")
    return table(
        head,
        (
            (
                finding.detector,
                finding.statistic,
                f"{finding.distance.value:.4f}",
                f"{finding.distance.null_mean:.4f}",
                f"{finding.distance.null_high:.4f}",
                f"{finding.distance.p_value:.2g}",
                "alarm" if finding.is_alarm else "",
            )
            for finding in verdict.findings
        ),
    )


def figure_rows(verdict: Verdict) -> list[tuple[str, str]]:
    service, quality = verdict.service, verdict.quality
    rows = [
        ("requests", f"{service.num_requests}"),
        ("failed or turned away", f"{service.error_share:.2%}"),
        ("refused as no request", f"{service.refused_share:.2%}"),
        *(
            (f"latency {name}", f"{value:.1f} ms")
            for name, value in (("p50", service.p50_ms), ("p95", service.p95_ms), ("p99", service.p99_ms))
            if value is not None
        ),
    ]
    if quality is None:
        return [*rows, ("rows with feedback", "0")]
    return [
        *rows,
        ("rows with feedback", f"{quality.num_rows}"),
        ("accuracy there", f"{quality.accuracy.value:.3f} ({quality.accuracy.low:.3f} to {quality.accuracy.high:.3f})"),
        ("accuracy on the validation split", f"{quality.validation_accuracy:.3f}"),
        ("calibration error there", f"{quality.ece.value:.3f} ({quality.ece.low:.3f} to {quality.ece.high:.3f})"),
        ("calibration error on the validation split", f"{quality.validation_ece:.3f}"),
    ]


def pictures(verdict: Verdict, window: Window, reference: Reference | None) -> list[str]:
    found: list[str] = []
    if verdict.findings:
        found.append(svg_of(draw_findings, verdict.findings))
    if reference is not None:
        scores = scores_of(window.rows, reference.labels)
        if reference.task == "text_classification":
            lengths = np.array([row.length or 0 for row in window.rows], np.float64)
            known = np.array([len(text) for text in reference.inputs], np.float64)
            found.append(svg_of(draw_distribution, "Length of the texts", "characters", lengths, known))
        found.append(svg_of(draw_labels, reference.labels, scores, reference.scores))
        found.append(
            svg_of(draw_distribution, "Score of the predicted label", "score", top(scores), top(reference.scores))
        )
    if verdict.quality is not None:
        found.append(svg_of(draw_calibration, verdict.quality))
    if window.latencies_ms:
        found.append(svg_of(draw_latency, window.latencies_ms))
    return found


def top(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    return scores.max(axis=1).astype(np.float64)
