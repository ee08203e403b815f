"""The comparison of the best trial with the present settings, by what evaluate leaves of each row of the test split."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.comparison.duel import paired
from components.evaluate.bootstrap import Figures, Statistic, Weights
from components.evaluate.classification.metrics import counting_metrics
from components.params import Bootstrap
from components.params.sweep import Sweep
from components.plumbing.errors import ArtifactError
from flows.sweep.judging.front import figure_of, in_digits, misses_in_words, nearest_of
from flows.sweep.trials.trial import PRESENT, Trial

PREDICTIONS, DOCUMENTS = "predictions.parquet", "documents.parquet"
BITS = "bits_per_byte"


def compare(present: Path, winner: Path, *, metric: str, bootstrap: Bootstrap) -> dict[str, Any]:
    """Compare two results of evaluate on the same test rows; return the figure of both, and the gain with the ends of
    its interval, a paired bootstrap percentile interval.

    `present` and `winner` are evaluate's folders `results/`. A gain above 0 is for the winner, whichever way the metric
    goes. Empty where evaluate leaves nothing by row. Raise ArtifactError where the two are not of the same rows.
    """
    for name, statistics in ((PREDICTIONS, of_classifiers), (DOCUMENTS, of_language_models)):
        if not ((present / name).is_file() and (winner / name).is_file()):
            continue
        ours, theirs = pq.read_table(present / name), pq.read_table(winner / name)
        same = [column for column in ("row", "label_id", "num_bytes") if column in ours.column_names]
        if len(ours) != len(theirs) or any(ours[column] != theirs[column] for column in same):
            raise ArtifactError(
                f"{present / name} and {winner / name} are not of the same rows, so that they cannot be compared"
            )
        named, sign, before_of, after_of = statistics(ours, theirs, metric)
        figures = paired(before_of, after_of, named, num_rows=len(ours), bootstrap=bootstrap, sign=sign)
        before, after, (drop, drop_low, drop_high) = figures[0], figures[1], figures[2].tolist()
        return {
            "metric": named, "num_rows": len(ours), "present": before, "winner": after, "gain": 0.0 - drop,
            "gain_low": 0.0 - drop_high, "gain_high": 0.0 - drop_low, "is_surely_better": drop_high < 0,
        }  # fmt: skip
    return {}


def of_classifiers(present: pa.Table, winner: pa.Table, metric: str) -> tuple[str, float, Statistic, Statistic]:
    """Return the name of the metric, which is better where it is higher, and the statistic of both."""
    actual = present["label_id"].to_numpy()
    guesses = [table["predicted_id"].to_numpy() for table in (present, winner)]
    num_classes = int(max(actual.max(), *(guess.max() for guess in guesses))) + 1
    ours, theirs = (counting_metrics(actual, guess, num_classes=num_classes) for guess in guesses)
    return metric or "accuracy", 1.0, ours, theirs


def of_language_models(present: pa.Table, winner: pa.Table, _metric: str) -> tuple[str, float, Statistic, Statistic]:
    """Return the name of the metric, which is better where it is lower, and the statistic of both; the rows are
    documents, since the tokens of one are no independent rows."""
    size = present["num_bytes"].to_numpy().astype(np.float64)

    def statistic(bits: np.ndarray[Any, Any], weights: Weights) -> Figures:
        return {BITS: (bits @ weights) / (size @ weights)}

    ours, theirs = (partial(statistic, table[BITS].to_numpy() * size) for table in (present, winner))
    return BITS, -1.0, ours, theirs


def words_of(trials: Sequence[Trial], best: Trial | None, sweep: Sweep, verdict: Mapping[str, Any]) -> str:
    """Return what came of a search, in plain words."""
    if best is None:
        nearest = nearest_of(trials, sweep)
        near = f"; the nearest is trial {nearest.number}: {misses_in_words(nearest, sweep)}" if nearest else ""
        return f"no trial is within the constraints{near}; move a limit, widen the space, or allow more trials"
    present = next(trial for trial in trials if trial.number == PRESENT)
    if best.number == PRESENT:
        return "nothing was better than the present settings"
    if not verdict:
        said = (
            "the two were not compared on the test split: evaluate leaves no answers by row for this task; the lead on "
            f"the validation split is in part luck, as it is the best of {len(trials)}"
        )
    else:
        both = (present.figures[sweep.followed], best.figures[sweep.followed])
        said = in_words(
            verdict, num_trials=len(trials), objective=sweep.followed, validation=both,
            minimizes=sweep.minimizes_followed,
        )  # fmt: skip
    others = [
        f"{name} {in_digits(theirs)} beside {in_digits(ours)}"
        for name in sweep.figures
        if name != sweep.followed
        and (theirs := figure_of(best, name, sweep)) is not None
        and (ours := figure_of(present, name, sweep)) is not None
    ]
    return "; ".join([said, *others])


def in_words(
    found: Mapping[str, Any], *, num_trials: int, objective: str, validation: tuple[float, float], minimizes: bool
) -> str:
    """Return what a comparison says, in plain words; `validation` is the objective of the present settings and of the
    best trial on the validation split."""
    low, high = f"{found['gain_low']:+.4f}", f"{found['gain_high']:+.4f}"
    sure = "surely better" if found["is_surely_better"] else "not surely better: the interval holds 0"
    if found["gain_high"] < 0:
        sure = "surely worse"
    lead = (validation[0] - validation[1]) * (1 if minimizes else -1)
    there = f"it led by {lead:.4f} of {objective}" if lead >= 0 else f"it was worse by {-lead:.4f} of {objective}"
    luck = f"of which a part is luck, as it was the best of {num_trials}" if lead >= 0 else "given up for the others"
    return (
        f"on the {found['num_rows']:,} rows of the test split the best trial has {found['metric']} "
        f"{found['winner']:.4f} and the present settings {found['present']:.4f}, a gain of {found['gain']:+.4f} "
        f"({low} to {high}), {sure}; on the validation split {there}, {luck}"
    )
