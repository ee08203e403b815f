"""Rows that feedback has labelled, kept for the next training: one Parquet file a recipe, which only grows.

Its columns are what the task's rows have (`text` or `values`, and `label`), then request_id, item, time, version and
predicted. The recipe's ingest reads it as the table `feedback` (ingest.feedback).
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from components.artifacts import disk_errors
from components.monitoring.reference import COLUMNS
from components.monitoring.windows import Row

TYPES = {"text": pa.string(), "values": pa.list_(pa.float32())}
KEY = ("request_id", "item")


def schema_of(task: str) -> pa.Schema:
    """The columns of a task's file."""
    column = COLUMNS[task]
    return pa.schema(
        [
            (column, TYPES[column]),
            ("label", pa.string()),
            ("request_id", pa.string()),
            ("item", pa.int64()),
            ("time", pa.string()),
            ("version", pa.string()),
            ("predicted", pa.string()),
        ]
    )


def add_rows(path: Path, rows: Sequence[Row], *, task: str, version: str) -> int:
    """Add the rows that have feedback and their input, and are not there yet with that label; gives how many are new.

    A row whose feedback has changed takes its new label. The order is that of time, so that the same rows give the same
    bytes.
    """
    schema = schema_of(task)
    before: list[dict[str, Any]] = pq.read_table(path).to_pylist() if path.is_file() else []
    known = {tuple(row[name] for name in KEY): row for row in before}
    given = [record_of(row, task, version) for row in rows if row.actual is not None and row.input is not None]
    new = [row for row in given if known.get((row["request_id"], row["item"]), {}).get("label") != row["label"]]
    if not new:
        return 0
    known |= {(row["request_id"], row["item"]): row for row in new}
    ordered = sorted(known.values(), key=lambda row: (row["time"], row["request_id"], row["item"]))
    partial = path.with_name(f".{path.name}.partial")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(ordered, schema=schema), partial, compression="zstd")
        os.replace(partial, path)
    return len(new)


def record_of(row: Row, task: str, version: str) -> dict[str, Any]:
    return {
        COLUMNS[task]: row.input if task == "text_classification" else flat(row.input),
        "label": row.actual,
        "request_id": row.request_id,
        "item": row.item,
        "time": row.time.isoformat(),
        "version": version,
        "predicted": row.output["label"],
    }


def flat(values: Any) -> list[float]:
    """The numbers of an array, whatever lists they stand in."""
    return [number for one in values for number in flat(one)] if isinstance(values, list) else [float(values)]


def num_rows(path: Path) -> int:
    return pq.read_metadata(path).num_rows if path.is_file() else 0
