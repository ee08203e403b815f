"""The champion gate for arrays that are scored: the Brier score on the rows of the test split.

Legend: N rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.comparison.duel import Comparison, HeldOut, paired
from components.compress.classification import MAX_ITEMS, Split, read_split
from components.evaluate.bootstrap import Statistic
from components.params import Bootstrap
from components.tasks.array_scoring.judging.brier import Probabilities, brier, squared_errors
from serving.tasks.array_scoring.predictor import Scorer


def make_duel(data: HeldOut, *, metric: str) -> "ScoringDuel":
    return ScoringDuel(metric=metric, split=read_split(data.test, "values"))


@dataclass(frozen=True)
class ScoringDuel:
    metric: str
    split: Split
    unit: str = "row"
    indifference: float = 0.001

    @property
    def items(self) -> Sequence[Any]:
        return self.split.rows[:MAX_ITEMS]

    def load(self, bundle: Path, *, threads: int) -> Scorer:
        return Scorer.load(bundle, threads=threads)

    def work(self, runner: Scorer, items: Sequence[Any]) -> int:
        runner.probabilities(items)
        return len(items)

    def answers(self, runner: Scorer) -> Probabilities:
        return squared_errors(runner.probabilities(self.split.rows), self.split.label_id)  # (N,)

    def compare(self, champion: Probabilities, challenger: Probabilities, *, bootstrap: Bootstrap) -> Comparison:
        ours, theirs = self.statistic_of(champion), self.statistic_of(challenger)
        num_rows = len(self.split.rows)
        before, after, drop = paired(ours, theirs, self.metric, num_rows=num_rows, bootstrap=bootstrap, sign=-1.0)
        return Comparison(
            judged=f"the {num_rows:,} rows of the test split",
            champion=before,
            challenger=after,
            drop=float(drop[0]),
            drop_low=float(drop[1]),
            drop_high=float(drop[2]),
        )

    def statistic_of(self, errors: Probabilities) -> Statistic:
        """The score of each resample of the rows."""
        return lambda weights: {self.metric: brier(errors, weights)}
