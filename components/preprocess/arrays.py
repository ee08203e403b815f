"""preprocess for arrays with labels, which are images or vectors: check, deduplicate, split.

Arrays are compared by their bytes, as fp32: a repeated array counts once, and an array that carries two labels is
removed or put to the vote. The leakage gate then looks for an array of one split in another. The numbers are written as
they came; predictor.json says how the model reads them, (value - offset) / scale. An array without a label is one to
pretrain on.

Legend: N rows, V numbers of an array.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
from numpy.typing import NDArray

from components.params import ArrayData
from components.plumbing.artifacts import PREDICTOR, read_json, write_json
from components.plumbing.errors import MAX_EXAMPLES, InputError, LeakageError, examples
from components.preprocess.columns import check_groups, class_counts, kept, numbers, read_columns, with_label_ids
from components.preprocess.duplicates import (
    CONFLICTING,
    DUPLICATE,
    FATES,
    LEAKING,
    OUTVOTED,
    Verdicts,
    settle,
    write_removed,
)
from components.preprocess.given import equal_repeats, given_splits, judge_given
from components.preprocess.split import NAMES, divided
from components.preprocess.stage import Inputs, Outputs
from components.preprocess.timings import timed, write_timings
from components.tracking.tracker import Tracker

GROUP_ROWS = 1_024
pc: Any = pyarrow.compute  # makes its functions when it is imported, where no type checker sees them

SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64()),
        pa.field("label", pa.string()),
        pa.field("label_id", pa.int32()),
        pa.field("values", pa.list_(pa.float32())),
    ]
)

Values = NDArray[np.float32]


@dataclass(frozen=True)
class Report:
    """The counts of the rows: those in equal the sum of those out, unlabelled (repeated ones too), null, conflicting,
    outvoted, duplicates and leaking."""

    num_rows_in: int
    num_unlabelled: int
    """Rows kept without a label, to pretrain on."""
    num_unlabelled_repeated: int
    """Rows without a label that are removed, since their array occurs in a labelled row or in an earlier row."""
    num_null: int
    """Rows without an array."""
    num_conflicting: int
    """Rows whose array carries another label too."""
    num_conflicting_arrays: int
    """Arrays that carry more than one label."""
    num_outvoted: int
    """Rows whose label lost the vote of the rows with the same array; only where conflicts are put to the vote."""
    num_duplicates: int
    num_leaking: int
    """Rows left out of training or validation because the given test split, or the given validation split, holds their
    array; 0 where the splits are drawn."""
    num_rows_out: int
    num_train: int
    num_validation: int
    num_test: int
    num_classes: int
    class_rows_min: int
    class_rows_max: int
    num_values: int
    """The number of values of one array."""
    value_min: float
    """The smallest number in the training split's arrays as they came; `value_max`, `value_mean` and `value_std` are of
    these arrays, too."""
    value_max: float
    value_mean: float
    value_std: float


def run(params: ArrayData, inputs: Inputs, outputs: Outputs, *, tracker: Tracker) -> Report:
    """Check the arrays, deduplicate, split, and look for leaks; raise InputError or LeakageError where one of them
    fails."""
    steps: dict[str, float] = {}
    labels: list[str] = read_json(inputs.verdict)["labels"]
    if not labels:
        raise InputError(f"task '{params.task}' needs a label for each array; name them in validate.contract.labels")
    with timed("read", steps):
        values, is_there = read_values(inputs.data, params)
        names = {"label": "label", "group": params.split.group, "split": params.split.column}
        table = with_label_ids(read_columns(inputs.data, names), labels)
        rows, unlabelled = usable(table, is_there)
    with timed("deduplicate", steps):
        codes = pa.array(map(digest, values)).dictionary_encode().indices.to_numpy()  # (N,), of equal arrays the same
        verdicts = judged(rows, codes[row_numbers(rows)], params, num_labels=len(labels))
        write_removed(outputs.observations / "removed.parquet", rows, verdicts, columns=["label"])
        rows = kept(rows, verdicts, labels)
        new = new_arrays(unlabelled, rows, codes)
    with timed("split", steps):
        splits = divided(rows, lambda: [digest(values[row]) for row in row_numbers(rows)], params.split, labels=labels)
    with timed("leakage_gate", steps):
        check_leakage({name: row_numbers(part) for name, part in (splits | {"unlabelled": new}).items()}, values)
    with timed("write", steps):
        paths = {"train": outputs.train, "validation": outputs.validation, "test": outputs.test}
        for name in NAMES:
            write_split(paths[name], splits[name], values)
        write_split(outputs.unlabelled, new, values)
    write_predictor(outputs.predictor / PREDICTOR, params, labels)
    write_timings(outputs.observations, steps, num_rows=len(table))
    tracker.log_file(outputs.observations)

    fates = np.bincount(verdicts.fate, minlength=len(FATES)).tolist()
    trained_on = values[row_numbers(splits["train"])]
    return Report(
        num_rows_in=len(table),
        num_unlabelled=len(new),
        num_unlabelled_repeated=len(unlabelled) - len(new),
        num_null=int((~is_there).sum()),
        num_conflicting=fates[CONFLICTING],
        num_conflicting_arrays=verdicts.num_conflicting_texts,
        num_outvoted=fates[OUTVOTED],
        num_duplicates=fates[DUPLICATE],
        num_leaking=fates[LEAKING],
        **class_counts(rows, splits, num_classes=len(labels)),
        num_values=prod(params.shape),
        value_min=float(trained_on.min()),
        value_max=float(trained_on.max()),
        value_mean=round(float(trained_on.mean(dtype=np.float64)), 6),
        value_std=round(float(trained_on.std(dtype=np.float64)), 6),
    )


def read_values(path: Path, params: ArrayData) -> tuple[Values, NDArray[np.bool_]]:
    """Read the column `values` as a matrix (N, V), and whether each row has an array, (N,); rows without one are 0.

    Raises InputError where there is no such column, an array does not have V numbers, or a number is not finite in
    fp32.
    """
    file = pq.ParquetFile(path)
    kind = file.schema_arrow.field("values").type if "values" in file.schema_arrow.names else None
    if kind is None or not getattr(kind, "num_fields", 0):
        raise InputError(
            f"task '{params.task}' needs a column 'values' of arrays; ingest.query gives "
            f"{'no such column' if kind is None else f'it as {kind}: CAST(… AS FLOAT[]) AS values'}"
        )
    num_values = prod(params.shape)
    values = np.zeros((file.metadata.num_rows, num_values), np.float32)
    is_there = np.zeros(len(values), bool)
    faults: list[str] = []
    start = 0
    for batch in file.iter_batches(GROUP_ROWS, columns=["values"]):
        arrays = batch.column(0).cast(pa.large_list(pa.float64()))
        there = np.asarray(pc.is_valid(arrays))
        lengths = np.asarray(pc.list_value_length(arrays.drop_null()))
        here = start + there.nonzero()[0]  # rows that have an array
        ragged = (lengths != num_values).nonzero()[0]
        faults += [f"row {here[n] + 1} has {lengths[n]} numbers" for n in ragged[:MAX_EXAMPLES]]
        if not len(ragged):
            with np.errstate(over="ignore"):  # too large for fp32 is infinite, and refused below
                found = np.asarray(arrays.flatten().fill_null(np.nan)).astype(np.float32).reshape(-1, num_values)
            odd = np.flatnonzero((~np.isfinite(found)).any(axis=1))
            faults += [f"row {here[n] + 1} has a null, NaN, infinite or too large number" for n in odd[:MAX_EXAMPLES]]
            values[here] = found + np.float32(0)  # -0 is 0
            is_there[here] = True
        start += len(batch)
        if len(faults) >= MAX_EXAMPLES:
            break
    if faults:
        raise InputError(
            f"preprocess.shape {list(params.shape)} is of {num_values} numbers, all finite, but "
            f"{', '.join(faults[:MAX_EXAMPLES])}; mend shape, or the rows in ingest.query"
        )
    return values, is_there


def usable(table: pa.Table, is_there: NDArray[np.bool_]) -> tuple[pa.Table, pa.Table]:
    """Return the rows with an array and a label, and the rows with an array alone.

    Raises InputError where no row has both, or a labelled row has no group.
    """
    whole = table.filter(pa.array(is_there))
    rows, unlabelled = whole.filter(pc.is_valid(whole["label_id"])), whole.filter(pc.is_null(whole["label_id"]))
    if not len(rows):
        raise InputError(f"no row of {len(table)} has both an array and a label")
    check_groups(rows)
    return rows, unlabelled


def judged(rows: pa.Table, codes: NDArray[np.int64], params: ArrayData, *, num_labels: int) -> Verdicts:
    """Return the fate of each row with a label; `codes` are equal where the arrays of these rows are."""
    labels = numbers(rows["label_id"])

    def judge_rows(some: NDArray[np.int64]) -> Verdicts:
        every = np.arange(codes.max() + 1)
        return settle(codes[some], every, labels[some], num_labels=num_labels, conflicts=params.conflicts)

    if params.split.column is None:
        return judge_rows(np.arange(len(rows)))
    split = given_splits(rows, params.split)
    return judge_given(split, labels, repeats=equal_repeats(codes), judge=judge_rows)


def digest(array: Values) -> str:
    return hashlib.blake2b(array.tobytes(), digest_size=16).hexdigest()


def row_numbers(table: pa.Table) -> NDArray[np.int64]:
    return numbers(table["row"])


def new_arrays(unlabelled: pa.Table, rows: pa.Table, codes: NDArray[np.int64]) -> pa.Table:
    """Return the unlabelled rows whose array occurs in no labelled row and in no earlier unlabelled row."""
    _, first = np.unique(codes[row_numbers(unlabelled)], return_index=True)
    is_new = np.zeros(len(unlabelled), bool)
    is_new[first] = True
    is_new &= ~np.isin(codes[row_numbers(unlabelled)], codes[row_numbers(rows)])
    return unlabelled.filter(pa.array(is_new))


def check_leakage(splits: Mapping[str, NDArray[np.int64]], values: Values) -> None:
    """Raise LeakageError, with examples, where an array of one split equals one of another.

    `splits` gives the row numbers of each split. The arrays' bytes are compared, not their digests.
    """
    rows_by_bytes = {name: {values[row].tobytes(): int(row) for row in rows} for name, rows in splits.items()}
    leaks = [
        (rows_by_bytes[one][array], one, rows_by_bytes[other][array], other)
        for one, other in combinations(splits, 2)
        for array in rows_by_bytes[one].keys() & rows_by_bytes[other].keys()
    ]
    if not leaks:
        return
    shown = examples(f"row {row + 1} ({one}) = row {again + 1} ({other})" for row, one, again, other in sorted(leaks))
    raise LeakageError(
        f"{len(leaks)} arrays of one split come again in another: {shown}; they were to be removed before the split, "
        "so this is a fault of the stage",
        report={"num_leaks": len(leaks), "examples": shown},
    )


def write_split(path: Path, rows: pa.Table, values: Values) -> None:
    """Write the rows with their arrays to a Parquet file, a group of rows at a time."""
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        for group in groups_of(rows):
            flat = values[row_numbers(group)]
            ends = pa.array(np.arange(len(flat) + 1, dtype=np.int32) * flat.shape[1])
            column = pa.ListArray.from_arrays(ends, pa.array(flat.ravel()))
            whole = group.append_column("values", column).select(SCHEMA.names)
            writer.write_table(whole.cast(SCHEMA), row_group_size=GROUP_ROWS)


def groups_of(rows: pa.Table) -> Iterator[pa.Table]:
    for start in range(0, len(rows), GROUP_ROWS):
        yield rows.slice(start, GROUP_ROWS)


def write_predictor(path: Path, params: ArrayData, labels: Sequence[str]) -> None:
    """Write predictor.json, with the settings that the predictor needs beside the model."""
    settings = {
        "task": params.task,
        "labels": labels,
        "shape": params.shape,
        "offset": params.offset,
        "scale": params.scale,
    }
    write_json(path, settings)
