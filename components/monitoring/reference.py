"""The reference of a window: the training rows of a version, and its answers on its validation split.

The predictions are made once for a version, through the bundle as it is served, and kept: the training split would not
do, since a model is surer of rows that it has learned from than of any others.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from components.monitoring.inputs import MonitoredInputs, Reference
from components.plumbing.artifacts import replacing
from components.plumbing.errors import InputError, examples
from serving.bundle import load_about
from serving.predictors.scores import Scores

ROWS_A_CALL = 256


def read_reference(
    bundle: Path, kind: MonitoredInputs, *, train: Path, validation: Path, kept: Path, max_rows: int, seed: int,
    mix: Mapping[str, float] | None = None,
) -> Reference:  # fmt: skip
    """Read the reference of a bundle; `kept` is the file of its predictions for this validation split, which
    is made if it is missing. Where `mix` gives the share of each label, the rows are drawn so that they have it.

    Raises InputError where the rows lack a label of the mix.
    """
    column = kind.COLUMN
    predictor = kind.load(bundle, threads=max(1, min(load_about(bundle).limits["threads"], os.cpu_count() or 1)))
    rows = pq.read_table(train, columns=[column])[column]
    if mix is not None:
        ids = pq.read_table(train, columns=["label_id"])["label_id"].to_numpy().astype(np.int64)
        rows = rows.take(pa.array(rows_of_mix(ids, predictor.labels, mix, seed=seed)))
    if len(rows) > max_rows:
        chosen = np.sort(np.random.default_rng(seed).choice(len(rows), max_rows, replace=False))
        rows = rows.take(pa.array(chosen))
    labelled = pq.read_table(validation, columns=[column, "label_id"])
    inputs: list[Any] = rows.to_pylist()
    scores = predictions(predictor, labelled[column], kept)
    actual = labelled["label_id"].to_numpy().astype(np.int64)
    if mix is not None:
        drawn = rows_of_mix(actual, predictor.labels, mix, seed=seed)
        scores, actual = scores[drawn], actual[drawn]
    return Reference(
        kind=kind,
        labels=predictor.labels,
        inputs=inputs,
        scores=scores,
        actual=actual,
        predictor=predictor,
        tokens=kind.tokens(inputs, predictor),
    )


def rows_of_mix(
    label_ids: NDArray[np.int64], labels: Sequence[str], mix: Mapping[str, float], *, seed: int
) -> NDArray[np.int64]:
    """Return the numbers of rows, ascending, in which each label has its share: as many as the scarcest label allows.

    Raises InputError where the rows lack a label that is expected.
    """
    counts = np.bincount(label_ids, minlength=len(labels))
    wanted = {labels.index(label): share for label, share in mix.items() if label in labels}
    lost = [label for label in mix if label not in labels or not counts[labels.index(label)]]
    if lost:
        raise InputError(f"monitoring.expected_labels has {examples(lost)}, of which the model has seen no row")
    num_rows = min(counts[number] / share for number, share in wanted.items())
    random = np.random.default_rng(seed)
    drawn = [
        random.choice(np.flatnonzero(label_ids == number), min(counts[number], max(1, round(share * num_rows))), False)
        for number, share in wanted.items()
    ]
    return np.sort(np.concatenate(drawn))


def predictions(predictor: Any, column: pa.ChunkedArray, kept: Path) -> Scores:
    """Return the scores of each row, (N, L), made if they are not kept yet."""
    if kept.is_file() and pq.read_metadata(kept).num_rows == len(column):
        return np.array(pq.read_table(kept)["scores"].to_pylist(), np.float32)
    inputs: list[Any] = column.to_pylist()
    starts = range(0, len(inputs), ROWS_A_CALL)
    found = np.concatenate([predictor.predict(inputs[start : start + ROWS_A_CALL]) for start in starts])
    with replacing(kept) as partial:
        pq.write_table(pa.table({"scores": pa.array(found.tolist(), pa.list_(pa.float32()))}), partial)
    return found
