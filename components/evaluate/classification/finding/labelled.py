"""The rows of all splits with the labels that they were given, in which wrong labels are looked for."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.evaluate.classification.linear import picked, sampled
from components.evaluate.classification.metrics import Labels
from components.evaluate.classification.split import read_split
from components.evaluate.stage import Inputs
from components.params import LabelErrors

TRAIN, VALIDATION, TEST = "train", "validation", "test"


@dataclass(frozen=True)
class Labelled:
    """N rows with their labels."""

    row: NDArray[np.int64]
    """The number of each row in data.parquet, (N,)."""
    split: Sequence[str]
    """The split of each row."""
    given: Labels
    """The class number of each row's label, (N,)."""
    place: NDArray[np.int64]
    """The place of each row among all those of the three splits one after the other, (N,)."""


def read_labelled(inputs: Inputs, settings: LabelErrors) -> Labelled:
    """Read the rows of the training, validation and test splits; of more than `max_rows` a seeded sample."""
    splits = {TRAIN: inputs.train, VALIDATION: inputs.validation, TEST: inputs.test}
    found = {name: read_split(path) for name, path in splits.items()}
    names = [name for name, split in found.items() for _ in range(len(split.row))]
    place = sampled(len(names), settings.max_rows, seed=settings.seed)
    return Labelled(
        row=np.concatenate([split.row for split in found.values()])[place],
        split=picked(names, place),
        given=np.concatenate([split.label_id for split in found.values()])[place],
        place=place,
    )
