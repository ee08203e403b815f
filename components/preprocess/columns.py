"""The columns of the rows beside the model's input: row number, label, group and slice."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
from numpy.typing import NDArray

from components.plumbing.errors import InputError, did_you_mean, examples
from components.preprocess.duplicates import KEPT, Verdicts

pc: Any = pyarrow.compute  # makes its functions when it is imported, where no type checker sees them

CHOSEN_BY = {"group": "split.group", "slice": "preprocess.slice", "split": "split.column"}
"""The settings that name a column of the recipe's own, by the column's name here."""


def read_columns(path: Path, names: Mapping[str, str | None]) -> pa.Table:
    """Read columns as text, under the given names, with `row`, the number from 0; a name without a column is left out.

    Raises InputError where a setting names a column that is not there.
    """
    there, wanted = pq.read_schema(path).names, {key: column for key, column in names.items() if column is not None}
    for key, column in wanted.items():
        if key in CHOSEN_BY and column not in there:
            raise InputError(
                f"{CHOSEN_BY[key]} is '{column}', which ingest.query does not give{did_you_mean(column, there)}; "
                f"it gives {', '.join(there)}"
            )
    data = pq.read_table(path, columns=list(dict.fromkeys(wanted.values())))
    table = {"row": pa.array(np.arange(len(data)))}
    return pa.table(table | {key: data[column].cast(pa.large_string()) for key, column in wanted.items()})


def with_label_ids(table: pa.Table, labels: Sequence[str]) -> pa.Table:
    """Add the column `label_id`, the label's place among `labels`; raise InputError where a label is not among them."""
    ids = pc.index_in(table["label"], pa.array(labels, pa.large_string()))
    foreign = pc.unique(table["label"].filter(pc.and_(pc.is_null(ids), pc.is_valid(table["label"])))).to_pylist()
    if foreign:
        raise InputError(f"labels that the contract does not allow: {examples(foreign)}; it allows {examples(labels)}")
    return table.append_column("label_id", ids)


def check_groups(rows: pa.Table) -> None:
    """Raise InputError where the rows are split by group and one of them has no group."""
    if "group" in rows.column_names and rows["group"].null_count:
        raise InputError(
            f"{rows['group'].null_count} rows have no group, so they could be in any split; give them one in "
            "ingest.query (coalesce), or set split.group to null"
        )


def kept(rows: pa.Table, verdicts: Verdicts, labels: Sequence[str]) -> pa.Table:
    """Return the kept rows, with the labels that stand."""
    ids = pa.array(verdicts.label, pa.int32())
    names = pa.array(labels, pa.string()).take(ids)
    voted = rows.drop_columns(["label", "label_id"]).append_column("label", names).append_column("label_id", ids)
    return voted.filter(pa.array(verdicts.fate == KEPT))


def class_counts(rows: pa.Table, splits: Mapping[str, pa.Table], *, num_classes: int) -> dict[str, int]:
    """Return counts for the report, by name: the kept rows, those of each split, and those of the smallest and largest
    class."""
    class_rows = np.bincount(numbers(rows["label_id"]), minlength=num_classes)
    return {
        "num_rows_out": len(rows),
        **{f"num_{name}": len(part) for name, part in splits.items()},
        "num_classes": num_classes,
        "class_rows_min": int(class_rows.min()),
        "class_rows_max": int(class_rows.max()),
    }


def numbers(column: pa.ChunkedArray) -> NDArray[np.int64]:
    return column.to_numpy().astype(np.int64)
