"""The numbers, labels and texts of a split's rows, on which a classifier is judged."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from components.evaluate.classification.metrics import Labels
from components.evaluate.stage import Inputs
from components.plumbing.errors import InputError


@dataclass(frozen=True)
class Split:
    row: NDArray[np.int64]
    """The number of each row in data.parquet, (N,)."""
    label_id: Labels
    """The label number of each row, (N,)."""

    @property
    def most_frequent(self) -> int:
        """The class with the most rows; the first of those that tie."""
        return int(np.bincount(self.label_id).argmax())


def read_split(path: Path) -> Split:
    """Read the row numbers and label numbers of a split."""
    table = pq.read_table(path, columns=["row", "label_id"])
    return Split(row=table["row"].to_numpy().astype(np.int64), label_id=table["label_id"].to_numpy().astype(np.int64))


def read_splits(inputs: Inputs, labels: Sequence[str]) -> tuple[Split, Split]:
    """Read the training and the test split; raise InputError where one does not hold two classes."""
    train, test = read_split(inputs.train), read_split(inputs.test)
    for name, split in (("training", train), ("test", test)):
        check_classes(split, labels, name=name)
    return train, test


def read_texts(path: Path) -> list[str]:
    """Read the texts of a split, in the order of its rows."""
    return pq.read_table(path, columns=["text"])["text"].to_pylist()


def check_classes(split: Split, labels: Sequence[str], *, name: str) -> None:
    """Raise InputError where a split does not hold two classes, since nothing can be learned or told apart then."""
    present = sorted(set(split.label_id.tolist()))
    if len(present) < 2:
        holds = f"only the label '{labels[present[0]]}' ({len(split.row)} rows)" if present else "no rows"
        raise InputError(
            f"the {name} split holds {holds}; it needs two labels at least: give preprocess more rows, "
            "or change preprocess.split"
        )
