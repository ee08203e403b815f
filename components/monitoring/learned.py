"""Rows that feedback has labelled, kept for the next training: one Parquet file a recipe.

Its columns are what the task's rows have (`text` or `values`, and `label`), then request_id, item, time (of the
feedback), version and predicted. The recipe's ingest reads it as the table `feedback` (ingest.feedback). It holds only
what the recipe's contract allows of a row, and each text or array once: the service takes what the contract does not,
and one such row would stop every training.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from components.monitoring.inputs import MonitoredInputs
from components.monitoring.windows import Row
from components.params import Contract
from components.plumbing.artifacts import replacing
from components.plumbing.errors import SourceError

ORDER = ("time", "request_id", "item")


@dataclass(frozen=True)
class Learned:
    """The result of adding rows with feedback to the file."""

    num_new: int
    """The number of rows that are new, or have another label than before."""
    num_rows: int
    """The number of rows in the file now."""
    left_out: str
    """How many rows the contract does not allow, and why; empty without any."""
    told_at: tuple[datetime, ...] = field(default=(), compare=False, repr=False)
    """The times at which feedback was given on the rows in the file."""


def schema_of(kind: MonitoredInputs) -> pa.Schema:
    """Return the columns of the file."""
    return pa.schema(
        [
            (kind.COLUMN, kind.TYPE),
            ("label", pa.string()),
            ("request_id", pa.string()),
            ("item", pa.int64()),
            ("time", pa.string()),
            ("version", pa.string()),
            ("predicted", pa.string()),
        ]
    )


def add_rows(path: Path, rows: Sequence[Row], *, kind: MonitoredInputs, contract: Contract, version: str) -> Learned:
    """Add the rows that have feedback and their input: for each text or array the latest label counts, also over
    what was learned before. A label that is repeated changes nothing. The order is that of time, so that the same
    rows give the same bytes."""
    schema = schema_of(kind)
    before = read_records(path, schema)
    old = [{**record, kind.COLUMN: kind.kept(record[kind.COLUMN])} for record in before]
    given = [record_of(row, kind, version) for row in rows if row.actual is not None and row.input is not None]
    known: dict[Any, dict[str, Any]] = {}
    for record in in_order([*old, *given]):
        if known.get(key_of(record, kind), {}).get("label") != record["label"]:
            known[key_of(record, kind)] = record
    faults = {key: fault for key, record in known.items() if (fault := fault_of(key, record["label"], contract))}
    kept = in_order([record for key, record in known.items() if key not in faults])
    if kept != before:
        with replacing(path) as partial:
            pq.write_table(pa.Table.from_pylist(kept, schema=schema), partial, compression="zstd")
    labels = {key_of(record, kind): record["label"] for record in before}
    return Learned(
        num_new=sum(labels.get(key_of(record, kind)) != record["label"] for record in kept),
        num_rows=len(kept),
        left_out=in_words(Counter(faults.values()), num_rows=len(known)),
        told_at=tuple(datetime.fromisoformat(record["time"]) for record in kept),
    )


def read_records(path: Path, schema: pa.Schema) -> list[dict[str, Any]]:
    """Read what was learned before; SourceError where the file cannot be read, or is not
    here though DVC knows of it."""
    if not path.is_file():
        check_never_made(path)
        return []
    try:
        return pq.read_table(path).select(schema.names).cast(schema).to_pylist()
    except (pa.ArrowException, KeyError, OSError) as error:
        raise SourceError(
            f"{path} cannot be read ({' '.join(str(error).split())[:200]}); 'dvc checkout --force {path}' brings the "
            "last version back"
        ) from error


def check_never_made(path: Path) -> None:
    """Raise SourceError where a file that is not here was made once: without it, learning would begin anew."""
    note = path.with_name(f"{path.name}.dvc")
    if note.is_file():
        raise SourceError(
            f"{path} is not here, though {note.name} is; 'dvc pull {note}' or 'dvc checkout {note}' brings it"
        )


def in_order(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(records, key=lambda record: tuple(record[name] for name in ORDER))


def record_of(row: Row, kind: MonitoredInputs, version: str) -> dict[str, Any]:
    return {
        kind.COLUMN: kind.kept(row.input),
        "label": row.actual,
        "request_id": row.request_id,
        "item": row.item,
        "time": (row.told or row.time).isoformat(),
        "version": version,
        "predicted": kind.predicted(row.output),
    }


def key_of(record: dict[str, Any], kind: MonitoredInputs) -> Any:
    """Return what identifies a row: the text without the blanks around it, or the numbers."""
    return kind.key(record[kind.COLUMN])


def fault_of(content: str | tuple[float, ...], label: str, contract: Contract) -> str:
    """Return why the contract allows no such row; empty where it does."""
    if contract.labels is not None and label not in contract.labels:
        return "not of the contract's labels"
    if isinstance(content, str):
        return fault_of_text(content, contract)
    limits = contract.values
    if limits is None:
        return ""
    if len(content) != limits.length:
        return f"not of the contract's {limits.length:,} numbers"
    is_within = all(limits.min <= number <= limits.max for number in content)
    return "" if is_within else f"with numbers beyond the contract's {limits.min:g} to {limits.max:g}"


def fault_of_text(text: str, contract: Contract) -> str:
    limits = contract.text_length
    if limits is None:
        return ""
    if limits.min is not None and len(text) < limits.min:
        return f"shorter than the contract's {limits.min:,} characters" if text else "empty"
    if limits.max is not None and len(text) > limits.max:
        return f"longer than the contract's {limits.max:,} characters"
    return ""


def in_words(faults: Counter[str], *, num_rows: int) -> str:
    if not faults:
        return ""
    said = ", ".join(f"{count:,} {fault}" for fault, count in faults.most_common())
    return f"{faults.total():,} of {num_rows:,} rows with feedback are left out: {said}"
