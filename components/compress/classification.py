"""What the trials of classifiers share: accuracy, the table of predictions, and which rows are golden.

Shapes: N rows, L labels.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from components.compress.trial import MAX_GOLDEN
from components.errors import ArtifactError

PREDICTIONS = "predictions.parquet"

Labels = NDArray[np.int64]
Scores = NDArray[np.float32]


def read_float_scores(results: Path, row: NDArray[np.int64]) -> Scores:
    """The float model's scores on the test split, (N, L); ArtifactError where evaluate's are not of these rows."""
    path = results / PREDICTIONS
    table = pq.read_table(path, columns=["row", "scores"])
    if not np.array_equal(table["row"].to_numpy(), row):
        raise ArtifactError(f"{path} is not of the rows of the test split; run evaluate again: 'dvc repro'")
    return np.array(table["scores"].to_pylist(), np.float32)


def accuracy_of(scores: Scores, label_id: Labels) -> float:
    return float((scores.argmax(axis=1) == label_id).mean())


def prediction_table(row: NDArray[np.int64], label_id: Labels, scores: Scores) -> pa.Table:
    """row, label_id, predicted_id, scores (a list of float32, in the order of the labels), as the split is."""
    num_rows, num_labels = scores.shape
    offsets = pa.array(np.arange(num_rows + 1, dtype=np.int32) * num_labels)
    columns = {
        "row": pa.array(row, pa.int64()),
        "label_id": pa.array(label_id, pa.int64()),
        "predicted_id": pa.array(scores.argmax(axis=1), pa.int64()),
        "scores": pa.ListArray.from_arrays(offsets, pa.array(scores.ravel(), pa.float32())),
    }
    return pa.table(columns)


def golden_numbers(num_rows: int) -> list[int]:
    """The rows that become golden requests: MAX_GOLDEN at most, spread evenly."""
    chosen = np.linspace(0, num_rows - 1, min(MAX_GOLDEN, num_rows)).round().astype(np.int64)
    return np.unique(chosen).tolist()
