"""The tables of evaluate: predictions, classes, mistakes, and the data that DVC plots."""

import csv
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.evaluate.classification.judged import Found, Judged
from components.evaluate.classification.metrics import Labels, Scores, calibration_curve
from components.evaluate.figures import rounded
from components.plumbing.artifacts import write_json


def write_predictions(path: Path, judged: Judged) -> None:
    """Write a Parquet file in the row order of the split, with the columns row, label_id, predicted_id, scores (a list
    of float32 in the order of the labels) and, where there are texts, text."""
    num_rows, num_classes = judged.scores.shape
    offsets = pa.array(np.arange(num_rows + 1, dtype=np.int32) * num_classes)
    columns = {
        "row": pa.array(judged.row, pa.int64()),
        "label_id": pa.array(judged.actual, pa.int64()),
        "predicted_id": pa.array(judged.predicted, pa.int64()),
        "scores": pa.ListArray.from_arrays(offsets, pa.array(judged.scores.ravel(), pa.float32())),
    }
    if judged.texts is not None:
        columns["text"] = pa.array(judged.texts, pa.string())
    pq.write_table(pa.table(columns), path, compression="zstd")


def write_classes(path: Path, judged: Judged, found: Found) -> None:
    """Write the figures of each class with their intervals; null for a class that is neither a label nor a
    prediction."""
    num_rows = np.bincount(judged.actual, minlength=len(judged.labels))
    classes: dict[str, dict[str, float | int | None]] = {}
    for label_id, label in enumerate(judged.labels):
        classes[label] = {"label_id": label_id, "num_rows": int(num_rows[label_id])}
        for name in ("precision", "recall", "f1"):
            triple = found[f"class_{name}"][label_id]
            for end, value in zip(("", "_low", "_high"), triple, strict=True):
                classes[label][name + end] = None if math.isnan(value) else rounded(value)
    write_json(path, classes)


def write_mistakes(path: Path, judged: Judged, *, limit: int) -> None:
    """Write the `limit` mistakes of which the model was the most sure."""
    predicted, score = judged.predicted, judged.scores.max(axis=1)
    mistakes = [
        {
            "row": int(judged.row[index]),
            "actual": judged.labels[judged.actual[index]],
            "actual_score": rounded(judged.scores[index, judged.actual[index]]),
            "predicted": judged.labels[predicted[index]],
            "score": rounded(score[index]),
        }
        | ({"text": judged.texts[index]} if judged.texts is not None else {})
        for index in worst_mistakes(judged, limit=limit)
    ]
    write_json(path, mistakes)


def worst_mistakes(judged: Judged, *, limit: int) -> list[int]:
    """Return the indices of the `limit` mistakes with the highest scores, the highest first."""
    score = judged.scores.max(axis=1)
    wrong = np.flatnonzero(judged.predicted != judged.actual)
    return wrong[np.lexsort((judged.row[wrong], -score[wrong]))][:limit].tolist()


def write_confusion(path: Path, judged: Judged) -> None:
    """Write the actual and the predicted label of each row."""
    pairs = zip(judged.actual, judged.predicted, strict=True)
    write_csv(path, ("actual", "predicted"), ((judged.labels[a], judged.labels[p]) for a, p in pairs))


def write_calibration(path: Path, judged: Judged, *, num_bins: int) -> None:
    """Write the mean confidence, the accuracy and the number of rows of each confidence bin that holds rows.

    Where the scores are calibrated, the bins before it follow, and `scores` tells them apart: `calibrated` or `before`.
    """
    found = {"calibrated": judged.scores} | ({} if judged.calibrated is None else {"before": judged.calibrated.before})
    curves = [(name, *bin) for name, scores in found.items() for bin in bins_of(judged.actual, scores, num_bins)]
    columns = ("scores", "confidence", "accuracy", "num_rows")
    if judged.calibrated is None:
        write_csv(path, columns[1:], (row[1:] for row in curves))
    else:
        write_csv(path, columns, curves)


def bins_of(actual: Labels, scores: Scores, num_bins: int) -> list[tuple[float, float, int]]:
    """Return the mean confidence, the accuracy and the number of rows of each confidence bin that holds rows."""
    curve = calibration_curve(actual, scores, num_bins=num_bins)
    return [(rounded(confidence), rounded(accuracy), int(count)) for confidence, accuracy, count in curve]


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
