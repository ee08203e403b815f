"""The HTML page on a window: the verdict, its reasons, every figure, and pictures. It loads nothing from anywhere, and
holds no text of a user's."""

from collections.abc import Callable
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from components.monitoring.inputs import Reference
from components.monitoring.plots import (
    draw_calibration,
    draw_distribution,
    draw_findings,
    draw_labels,
    draw_latency,
    picture_of,
)
from components.monitoring.verdict import Verdict, scores_of
from components.monitoring.windows import Window
from components.plumbing.artifacts import write_text
from components.plumbing.pages import bullets, document, span, table, themed

KINDS = {"drift": "alarm", "degraded": "warning", "steady": "good"}


def write_report(path: Path, recipe: str, verdict: Verdict, window: Window, reference: Reference | None) -> None:
    """Write the page, whole or not at all."""
    heading = f"{escape(recipe)}: {span(verdict.state, KINDS.get(verdict.state, 'note'))}"
    asked = f"{verdict.num_rows} rows that version {escape(verdict.version)} answered"
    drawn = "\n".join(pictures(verdict, window, reference))
    body = (
        f"<p>{asked}, from {verdict.first[:19]} to {verdict.newest[:19]}.</p>\n"
        f"{bullets(verdict.reasons, 'alarm')}{bullets(verdict.notes, 'note')}"
        f"<h2>What was compared</h2>\n{findings_table(verdict)}\n"
        f"<h2>Answers and service</h2>\n{table((), figure_rows(verdict))}\n"
        f'<h2>Pictures</h2>\n<div class="pictures">\n{drawn}\n</div>'
    )
    write_text(path, document(f"{recipe}: {verdict.state}", heading, body))


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
                f"{finding.distance.value:z.4f}",
                f"{finding.distance.null_mean:z.4f}",
                f"{finding.distance.null_high:z.4f}",
                f"{finding.distance.p_value:.2g}",
                "alarm" if finding.is_alarm else "",
            )
            for finding in verdict.findings
        ),
        kinds={"alarm": "alarm"},
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
        found.append(themed_svg(draw_findings, verdict.findings))
    if reference is not None:
        scores = scores_of(window.rows, reference)
        if reference.kind.HAS_LENGTHS:
            lengths = np.array([row.length or 0 for row in window.rows], np.float64)
            known = np.array([len(text) for text in reference.inputs], np.float64)
            found.append(themed_svg(draw_distribution, "Length of the texts", "characters", lengths, known))
        found.append(themed_svg(draw_labels, reference.labels, scores, reference.scores))
        found.append(
            themed_svg(draw_distribution, "Score of the predicted label", "score", top(scores), top(reference.scores))
        )
    if verdict.quality is not None:
        found.append(themed_svg(draw_calibration, verdict.quality))
    if window.latencies_ms:
        found.append(themed_svg(draw_latency, window.latencies_ms))
    return found


def themed_svg(draw: Callable[..., None], *args: object) -> str:
    return themed(picture_of(draw, *args))


def top(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    return scores.max(axis=1).astype(np.float64)
