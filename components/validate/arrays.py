"""A small table that stands for a column of arrays: a digest of each row's array, and figures of its numbers."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
from numpy.typing import NDArray

# Names of columns that are judged; the space keeps them apart from a column of the user's.
NUM_VALUES = "values length"
SMALLEST = "smallest value"
LARGEST = "largest value"
NUM_ODD = "values that are no number"

SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("digest", pa.string()),
        (NUM_VALUES, pa.int64()),
        (SMALLEST, pa.float64()),
        (LARGEST, pa.float64()),
        (NUM_ODD, pa.int64()),
    ]
)

BATCH_ROWS = 1_024
pc: Any = pyarrow.compute  # makes its functions when it is imported, where no type checker sees them


def is_array(kind: pa.DataType) -> bool:
    """Return whether a column's type is a list of numbers."""
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        return False
    item = kind.value_type
    return pa.types.is_integer(item) or pa.types.is_floating(item) or pa.types.is_decimal(item)


def read_arrays(path: Path) -> pa.Table:
    """Describe the arrays of the file's column `values`, a batch at a time, as a table of SCHEMA with a row for each
    array.

    Its columns are the row number from 1, the digest (null where there is no array), the number of values, the smallest
    and the largest finite value (null where there is none), and the number of values that are null, NaN or infinite.
    """
    tables: list[pa.Table] = []
    start = 1
    for batch in pq.ParquetFile(path).iter_batches(BATCH_ROWS, columns=["values"]):
        tables.append(described(batch.column(0), start=start))
        start += len(batch)
    return pa.concat_tables([SCHEMA.empty_table(), *tables])


def described(column: pa.Array, *, start: int) -> pa.Table:
    arrays = column.cast(pa.large_list(pa.float64()))
    is_there = np.asarray(pc.is_valid(arrays))
    lengths = np.asarray(pc.fill_null(pc.list_value_length(arrays), 0)).astype(np.int64)  # (N,)
    values = np.asarray(arrays.flatten().fill_null(float("nan")))  # the numbers of all arrays, one after another
    owner = np.repeat(np.arange(len(arrays)), lengths)
    is_number = np.isfinite(values)
    ends = np.cumsum(lengths)
    digests = [
        digest(values[end - length : end]) if there else None
        for end, length, there in zip(ends.tolist(), lengths.tolist(), is_there.tolist(), strict=True)
    ]
    smallest, largest = extremes(values[is_number], owner[is_number], num_rows=len(arrays))
    return pa.table(
        {
            "row": np.arange(start, start + len(arrays)),
            "digest": pa.array(digests, pa.string()),
            NUM_VALUES: pa.array(lengths, mask=~is_there),
            SMALLEST: pa.array(smallest, mask=np.isnan(smallest)),
            LARGEST: pa.array(largest, mask=np.isnan(largest)),
            NUM_ODD: pa.array(np.bincount(owner[~is_number], minlength=len(arrays)), mask=~is_there),
        },
        schema=SCHEMA,
    )


def digest(values: NDArray[np.float64]) -> str:
    """Return a digest that is equal for arrays that are equal as the model reads them, in fp32."""
    with np.errstate(over="ignore"):  # what is too large is infinite
        numbers = values.astype("<f4") + np.float32(0)  # -0 is 0
    return hashlib.blake2b(numbers.tobytes(), digest_size=16).hexdigest()


def extremes(
    values: NDArray[np.float64], owner: NDArray[np.int64], *, num_rows: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the smallest and the largest of each row's values, (N,) each; NaN where a row has none.

    `owner` gives the row of each value and is sorted.
    """
    found = np.full((2, num_rows), np.nan)
    owners, first = np.unique(owner, return_index=True)
    if len(owners):
        found[0, owners] = np.minimum.reduceat(values, first)
        found[1, owners] = np.maximum.reduceat(values, first)
    return found[0], found[1]
