"""Arrays that a service is asked to score."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from components.monitoring.arrays import ArrayInputs
from serving.tasks.array_scoring.predictor import Scorer


class ScoredArrays(ArrayInputs):
    """Arrays of one length; an answer is the probability of the second label."""

    def load(self, bundle: Path, *, threads: int) -> Any:
        return Scorer.load(bundle, threads=threads)

    def scores_of(self, answer: Any, labels: Sequence[str]) -> list[float]:
        return [1 - answer["probability"], answer["probability"]]

    def predicted(self, answer: Any) -> str | None:
        return None
