"""Asks a served bundle its golden rows, and compares."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from components.errors import ModelyardError, examples
from components.package.bundle import Golden

TEXTS_A_REQUEST = 16
DIGITS = 6
TIMEOUT_S = 60


@dataclass(frozen=True)
class Parity:
    """How the served answers compare with the measured ones."""

    num_golden: int
    num_other_labels: int
    max_score_difference: float
    float_agreement: float
    """Share of the rows that get the float model's label."""
    examples: str
    """Of rows that differ most, by their number."""


def ask(url: str, golden: Sequence[Golden], *, max_texts: int) -> Parity:
    """Ask every golden row over HTTP. ModelyardError where the server does not answer them."""
    answers: list[dict[str, Any]] = []
    size = min(TEXTS_A_REQUEST, max_texts)
    with httpx.Client(base_url=url, timeout=TIMEOUT_S) as client:
        lineage = client.get("/lineage")
        if not lineage.is_success:
            raise ModelyardError(f"GET /lineage answers {lineage.status_code}: {lineage.text[:200]}")
        for start in range(0, len(golden), size):
            response = client.post("/classify", json={"texts": [row.text for row in golden[start : start + size]]})
            if not response.is_success:
                raise ModelyardError(f"POST /classify answers {response.status_code}: {response.text[:200]}")
            answers += response.json()
    return compare(golden, answers)


def compare(golden: Sequence[Golden], answers: Sequence[dict[str, Any]]) -> Parity:
    """The served answers beside the measured ones, row by row."""
    if len(answers) != len(golden):
        raise ModelyardError(f"POST /classify gives {len(answers)} answers to {len(golden)} texts")
    differences = [
        max(abs(score - served) for score, served in zip(row.scores, answer["scores"].values(), strict=True))
        for row, answer in zip(golden, answers, strict=True)
    ]
    others = [row for row, answer in zip(golden, answers, strict=True) if row.label != answer["label"]]
    worst = sorted(range(len(golden)), key=lambda index: -differences[index])
    shown = others or [golden[index] for index in worst]
    agreed = sum(row.float_label == answer["label"] for row, answer in zip(golden, answers, strict=True))
    return Parity(
        num_golden=len(golden),
        num_other_labels=len(others),
        max_score_difference=round(max(differences), DIGITS),
        float_agreement=round(agreed / len(golden), DIGITS),
        examples=examples(f"row {row.row}" for row in shown[:5]),
    )
