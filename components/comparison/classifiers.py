"""The duel of two classifiers: the recipe's own metric of evaluate on the test split, and the accuracy on each slice.

The versions may know different labels. A version gives no score to a label that it does not know, so it is wrong on the
rows of that label.

Shapes: N rows, K labels of the challenger.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from components.comparison.duel import Comparison, SliceDrop, paired
from components.compress.classification import Split
from components.evaluate.classification.metrics import Labels, counting_metrics
from components.params import Bootstrap

MAX_ITEMS = 500
INDIFFERENCE = 0.002
"""0.2 points of accuracy, macro F1 or MCC."""
UNKNOWN = "(unknown)"
Scores = NDArray[np.float32]


class Runner(Protocol):
    """A predictor of `serving/predictors`."""

    @property
    def labels(self) -> tuple[str, ...]: ...
    def predict(self, rows: Any, /) -> Scores: ...


@dataclass(frozen=True)
class ClassifierDuel:
    metric: str
    labels: tuple[str, ...]
    """The names of the labels, in the order of the label numbers in the test split."""
    split: Split
    slices: Sequence[str] | None
    """The slice of each row, N of them; None where the recipe has no slices."""
    load_folder: Callable[[Path, int], Runner]
    unit: str = "row"
    indifference: float = INDIFFERENCE

    @property
    def items(self) -> Sequence[Any]:
        return self.split.rows[:MAX_ITEMS]

    def load(self, bundle: Path, *, threads: int) -> Runner:
        return self.load_folder(bundle, threads)

    def work(self, runner: Runner, items: Sequence[Any]) -> int:
        runner.predict(items)
        return len(items)

    def answers(self, runner: Runner) -> Labels:
        """Return the number in the split of each row's predicted label, (N,); a label that the split lacks gets the
        number K."""
        place = {label: number for number, label in enumerate(self.labels)}
        ids = np.array([place.get(label, len(self.labels)) for label in runner.labels], np.int64)
        return ids[runner.predict(self.split.rows).argmax(axis=1)]

    def compare(self, champion: Labels, challenger: Labels, *, bootstrap: Bootstrap) -> Comparison:
        guesses = champion, challenger
        actual, num_classes = self.split.label_id, len(self.labels) + 1  # one for what is no label of these rows
        ours, theirs = (counting_metrics(actual, guess, num_classes=num_classes) for guess in guesses)
        before, after, drop = paired(ours, theirs, self.metric, num_rows=len(actual), bootstrap=bootstrap, sign=1.0)
        return Comparison(
            judged=f"the {len(actual):,} rows of the test split",
            champion=before,
            challenger=after,
            drop=float(drop[0]),
            drop_low=float(drop[1]),
            drop_high=float(drop[2]),
            slices=self.slice_drops(*(guess == actual for guess in guesses)),
        )

    def slice_drops(self, ours: NDArray[np.bool_], theirs: NDArray[np.bool_]) -> Mapping[str, SliceDrop]:
        """Return the accuracy of both versions on the rows of each label and of each slice."""
        groups = [("label", [self.labels[number] for number in self.split.label_id.tolist()])]
        if self.slices is not None:
            groups.append(("slice", list(self.slices)))
        found: dict[str, SliceDrop] = {}
        for kind, names in groups:
            for name in sorted(set(names)):
                member = np.array([one == name for one in names])
                figures = float(ours[member].mean()), float(theirs[member].mean())
                found[f"{kind} {name}"] = SliceDrop(int(member.sum()), *figures)
        return found
