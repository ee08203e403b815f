"""The verdict on a window: what differs, how good the answers were, how the service performed, and
the reasons in a few words."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from components.monitoring.detectors import Finding, detect
from components.monitoring.inputs import Reference
from components.monitoring.quality import Judgement, judge_quality
from components.monitoring.windows import Row, Window
from components.params import Limits, Monitoring
from serving.predictors.scores import Scores

State = Literal["steady", "drift", "degraded", "too few"]


@dataclass(frozen=True)
class Service:
    """The figures of the service itself."""

    num_requests: int
    error_share: float
    """The share of requests that got a 5xx, those that were turned away included."""
    refused_share: float
    """The share of requests that got a 4xx other than 499, since they were not valid."""
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    """Latency in ms of the requests that were answered (99th percentile, as p50 and p95 above); None where none was."""


@dataclass(frozen=True)
class Verdict:
    state: State
    """drift: the inputs, the answers or their quality differ. degraded: no drift, but the service is outside of its
    limits. too few: nothing was judged but the service. steady: none of these."""
    reasons: Sequence[str]
    version: str
    first: str
    """The time of the oldest row, as `newest` is that of the newest; both ISO 8601 in UTC."""
    newest: str
    num_rows: int
    num_feedback: int
    findings: Sequence[Finding]
    quality: Judgement | None
    service: Service
    notes: Sequence[str]
    """What could not be compared, and why; and what may stand behind an alarm that is nobody's drift."""

    @property
    def drifted(self) -> bool:
        return self.state == "drift"


def judge_window(
    window: Window, reference: Reference | None, params: Monitoring, *, notes: Sequence[str] = ()
) -> Verdict:
    """Judge a window; `reference` is None for a task whose inputs cannot be compared with a training split."""
    service = service_of(window)
    slow = service_reasons(service, params.limits)
    findings: list[Finding] = []
    quality = None
    told = list(notes)
    rows = window.rows
    is_enough = len(rows) >= params.min_rows
    if reference is not None:
        scores = scores_of(rows, reference)
        quality = quality_of(rows, scores, reference, params)
        if is_enough:
            inputs = [row.input for row in rows]
            findings = detect(inputs, [row.length for row in rows], scores, reference, params)
            if any(one is None for one in inputs):
                told.append("the log keeps hashes: of the inputs, only the lengths of texts can be compared")
            if params.expected_labels is None and any(one.is_alarm and one.detector == "labels" for one in findings):
                told.append(
                    "where rows were sampled for training, monitoring.expected_labels names the mix that is asked; "
                    "probes are left out by the header Modelyard-Purpose (docs/operating.md)"
                )
    differ = [finding.reason for finding in findings if finding.is_alarm]
    worse = list(quality.reasons) if quality else []
    if not is_enough:
        told.append(f"{len(rows)} rows are fewer than monitoring.min_rows {params.min_rows}: drift is not judged")
    return Verdict(
        state="drift" if differ or worse else "degraded" if slow else "steady" if is_enough else "too few",
        reasons=[*differ, *worse, *slow],
        version=window.version,
        first=rows[0].time.isoformat(),
        newest=rows[-1].time.isoformat(),
        num_rows=len(rows),
        num_feedback=window.num_feedback,
        findings=findings,
        quality=quality,
        service=service,
        notes=told,
    )


def scores_of(rows: Sequence[Row], reference: Reference) -> Scores:
    """Return the scores that were answered, in the order of the labels, (W, L)."""
    return np.array([reference.kind.scores_of(row.output, reference.labels) for row in rows], np.float32)


def quality_of(rows: Sequence[Row], scores: Scores, reference: Reference, params: Monitoring) -> Judgement | None:
    number = {label: index for index, label in enumerate(reference.labels)}
    known = [index for index, row in enumerate(rows) if row.actual in number]
    actual: NDArray[np.int64] = np.array([number[str(rows[index].actual)] for index in known], np.int64)
    return judge_quality(actual, scores[known], reference, limits=params.quality, seed=params.seed)


def service_of(window: Window) -> Service:
    counts, latencies = window.num_requests, window.latencies_ms
    num_requests = counts.total()
    p50, p95, p99 = (
        (round(float(value), 3) for value in np.quantile(latencies, [0.5, 0.95, 0.99])) if latencies else (None,) * 3
    )
    return Service(
        num_requests=num_requests,
        error_share=round(sum(num for status, num in counts.items() if status >= 500) / num_requests, 6),
        refused_share=round(sum(num for status, num in counts.items() if 400 <= status < 499) / num_requests, 6),
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
    )


def service_reasons(service: Service, limits: Limits) -> list[str]:
    reasons: list[str] = []
    if limits.max_p95_ms is not None and service.p95_ms is not None and service.p95_ms > limits.max_p95_ms:
        reasons.append(f"latency p95 is {service.p95_ms:.0f} ms, above {limits.max_p95_ms:g} ms")
    if limits.max_error_share is not None and service.error_share > limits.max_error_share:
        reasons.append(
            f"{service.error_share:.1%} of {service.num_requests} requests failed or were turned away, above "
            f"{limits.max_error_share:.1%}"
        )
    return reasons


def as_data(verdict: Verdict) -> dict[str, Any]:
    """Return the verdict as plain numbers and strings."""
    data = asdict(verdict)
    if verdict.quality is not None:
        data["quality"]["curve"] = np.round(verdict.quality.curve, 6).tolist()
    return data


def told(verdict: Verdict) -> dict[str, Any]:
    """Return what a service may show of the verdict: nothing that was asked or answered."""
    names = ("state", "reasons", "version", "first", "newest", "num_rows")
    return {name: value for name, value in asdict(verdict).items() if name in names}


def figures(verdict: Verdict) -> dict[str, float]:
    """Return the verdict's numbers by name, for a tracker."""
    found: dict[str, float] = {"num_rows": verdict.num_rows, "drift": verdict.drifted}
    for finding in verdict.findings:
        found[f"{finding.detector}_{finding.statistic}"] = finding.distance.value
        found[f"{finding.detector}_p"] = finding.distance.p_value
    if verdict.quality is not None:
        found["num_feedback"] = verdict.quality.num_rows
        found["feedback_accuracy"] = verdict.quality.accuracy.value
        found["feedback_ece"] = verdict.quality.ece.value
    for name, value in asdict(verdict.service).items():
        if value is not None:
            found[name] = value
    return {name: float(value) for name, value in found.items()}
