"""A training's history as CSV, one row a look at the validation split, for DVC's plots."""

import csv
from collections.abc import Sequence
from pathlib import Path

FIRST_COLUMNS = ("epoch", "train_loss")


def write_history(path: Path, history: Sequence[dict[str, float]]) -> None:
    """Write the figures of the looks as CSV; the header alone where nothing was trained."""
    # Sorted, since a resumed training read them back in any order.
    others = sorted(set().union(*history) - set(FIRST_COLUMNS))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [*FIRST_COLUMNS, *others], lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)
