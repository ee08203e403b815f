"""A challenger's trial on real requests: each is answered by the champion and the challenger, and the two are compared.

The verdict is on what a user would notice: errors, labels that differ, and latency. Pure: no clock, no network.
"""

import json
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

SERVER_ERROR = 500
ROUNDING = 1e-9
"""The tolerance within which a figure that is just at its limit counts as within it."""


@dataclass(frozen=True)
class Rules:
    """The rules of a trial: a recipe's `service.canary`, where its mode is not none."""

    mode: Literal["shadow", "canary"]
    share: float
    requests: int
    min_agreement: float | None
    max_error_rate: float
    max_latency_ratio: float


@dataclass(frozen=True)
class TimedAnswer:
    """The answer of the champion or of the challenger to one request."""

    status: int
    """The HTTP status; 0 where no answer came."""
    body: bytes
    """The body; empty where it was streamed, or long."""
    seconds: float

    @property
    def has_failed(self) -> bool:
        return self.status == 0 or self.status >= SERVER_ERROR


@dataclass
class RequestTrial:
    """The counts of a trial so far, and its verdict."""

    rules: Rules
    requests: int = 0
    errors: int = 0
    """The number of requests that only the challenger failed."""
    both_failed: int = 0
    """The number of requests that both failed; they are not among `requests`, since the
    champion is no measure for them."""
    compared: int = 0
    """The number of requests whose answers have labels to compare."""
    differing: float = 0.0
    """The sum, over the compared requests, of the share of labels that differ."""
    champion_s: list[float] = field(default_factory=list)
    challenger_s: list[float] = field(default_factory=list)

    def record(self, champion: TimedAnswer, challenger: TimedAnswer) -> Mapping[str, Any]:
        """Count one request; return what is logged of it."""
        share = None
        if champion.has_failed and challenger.has_failed:
            self.both_failed += 1
        else:
            self.requests += 1
            if challenger.has_failed:
                self.errors += 1
            elif not champion.has_failed:
                self.champion_s.append(champion.seconds)
                self.challenger_s.append(challenger.seconds)
                share = differing_share(champion, challenger)
        if share is not None:
            self.compared += 1
            self.differing += share
        return {
            "champion": summary_of(champion),
            "challenger": summary_of(challenger),
            "agreement": None if share is None else round(1 - share, 4),
        }

    @property
    def agreement(self) -> float | None:
        return 1 - self.differing / self.compared if self.compared else None

    @property
    def latency_ratio(self) -> float | None:
        return statistics.median(self.challenger_s) / statistics.median(self.champion_s) if self.champion_s else None

    def regression(self) -> str | None:
        """Return what speaks against the challenger, already for certain or, after the last request, on the
        whole; None without anything."""
        rules, is_over = self.rules, self.requests >= self.rules.requests
        if self.errors > rules.max_error_rate * rules.requests + ROUNDING:
            return (
                f"{self.errors} of {self.requests} requests failed that the champion answered "
                f"(max_error_rate {rules.max_error_rate:g} of {rules.requests})"
            )
        if rules.min_agreement is not None:
            if self.differing > (1 - rules.min_agreement) * rules.requests + ROUNDING or (
                is_over and self.agreement is not None and self.agreement < rules.min_agreement - ROUNDING
            ):
                return (
                    f"{self.agreement:.1%} of the labels of {self.compared} requests are the champion's "
                    f"(min_agreement {rules.min_agreement:g})"
                )
            if is_over and self.agreement is None:
                return "no answer had a label to compare with the champion's"
        ratio = self.latency_ratio if is_over else None
        if ratio is not None and ratio > rules.max_latency_ratio:
            return (
                f"its median latency is {ratio:.2f} of the champion's (max_latency_ratio {rules.max_latency_ratio:g})"
            )
        return None

    def verdict(self) -> Literal["running", "passed", "failed"]:
        if self.regression() is not None:
            return "failed"
        return "passed" if self.requests >= self.rules.requests else "running"

    def figures(self) -> dict[str, Any]:
        """Return the figures of the trial, for the verdict that the router writes."""
        return {
            "requests": self.requests,
            "wanted": self.rules.requests,
            "errors": self.errors,
            "both_failed": self.both_failed,
            "compared": self.compared,
            "agreement": rounded(self.agreement),
            "latency_ms": {"champion": median_ms(self.champion_s), "challenger": median_ms(self.challenger_s)},
            "latency_ratio": rounded(self.latency_ratio),
        }


def differing_share(champion: TimedAnswer, challenger: TimedAnswer) -> float | None:
    """Return the share of labels that differ, from 0 to 1; None where neither answer has one."""
    if champion.status != challenger.status:
        return 1.0
    one, other = labels_of(champion.body), labels_of(challenger.body)
    if not one and not other:
        return None
    if len(one) != len(other):
        return 1.0
    return sum(a != b for a, b in zip(one, other, strict=True)) / len(one)


def labels_of(body: bytes) -> list[object]:
    """Return the values of every key `label` of a JSON answer, in their order."""
    try:
        todo: list[Any] = [json.loads(body)]
    except (ValueError, RecursionError):
        return []
    found: list[object] = []
    while todo:
        node = todo.pop()
        if isinstance(node, dict):
            if "label" in node:
                found.append(node["label"])
            todo += reversed([value for key, value in node.items() if key != "label"])
        elif isinstance(node, list):
            todo += reversed(node)
    return found


def summary_of(answer: TimedAnswer) -> dict[str, Any]:
    """Return an answer's status, labels and latency in ms, for the log: no texts."""
    return {
        "status": answer.status,
        "labels": labels_of(answer.body),
        "latency_ms": round(answer.seconds * 1000, 2),
    }


def median_ms(seconds: list[float]) -> float | None:
    return round(statistics.median(seconds) * 1000, 3) if seconds else None


def rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
