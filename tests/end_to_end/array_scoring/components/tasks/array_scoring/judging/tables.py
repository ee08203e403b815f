"""The table of scores, which compress compares with. Legend: N rows."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from components.plumbing.errors import ArtifactError
from components.tasks.array_scoring.judging.brier import Probabilities

SCORES = "scores.parquet"


def score_table(row: NDArray[np.int64], actual: NDArray[np.int64], probability: Probabilities) -> pa.Table:
    """row, label_id, probability, as the split is."""
    columns = {
        "row": pa.array(row, pa.int64()),
        "label_id": pa.array(actual, pa.int64()),
        "probability": pa.array(probability, pa.float64()),
    }
    return pa.table(columns)


def read_scores(results: Path, row: NDArray[np.int64]) -> Probabilities:
    """What evaluate left, (N,); ArtifactError where it is not of these rows."""
    path = results / SCORES
    table = pq.read_table(path)
    if not np.array_equal(table["row"].to_numpy(), row):
        raise ArtifactError(f"{path} is not of the rows of the test split; run evaluate again: 'dvc repro'")
    return table["probability"].to_numpy()
