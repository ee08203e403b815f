"""The tables that the expectations judge (the rows, the distinct texts or arrays, the classes), and queries on the
rows."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from components.params import Contract
from components.plumbing.errors import MAX_EXAMPLES
from components.validate.arrays import is_array, read_arrays

MEMORY_LIMIT = "1GB"

# Of a text or label that is shown.
SHOWN_LENGTH = 100

# Names of columns that are made here; the space keeps them apart from a column of the user's.
LENGTH = "text length"
LABELLED_TEXT = "text with a label"
LABELLED_VALUES = "values with a label"

# With nulls, pandas' own integers would turn into floats, and booleans into objects.
NULLABLE = {
    pa.int8(): pd.Int8Dtype(),
    pa.int16(): pd.Int16Dtype(),
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.uint8(): pd.UInt8Dtype(),
    pa.uint16(): pd.UInt16Dtype(),
    pa.uint32(): pd.UInt32Dtype(),
    pa.uint64(): pd.UInt64Dtype(),
    pa.bool_(): pd.BooleanDtype(),
}


@dataclass(frozen=True)
class Class:
    label: str
    num_rows: int
    share: float
    """The share of the labelled rows that carry this label."""


@dataclass(frozen=True)
class Tables:
    """The data set in three views, and a database to query.

    `rows` has the judged columns and the length of each text; an array appears as its digest, with figures of its
    numbers (see `arrays.py`).
    """

    con: duckdb.DuckDBPyConnection
    schema: pa.Schema
    rows: pd.DataFrame
    contents: pd.DataFrame | None
    """The distinct texts or arrays, in the order of their first rows; None where the rows have neither, or no label.

    The columns are `content` (shortened), `num_rows` and `num_labels`.
    """
    classes: tuple[Class, ...]
    """The classes, one for each label of the contract, in its order; empty where the rows have no label."""
    is_of_arrays: bool

    @property
    def num_rows(self) -> int:
        return len(self.rows)

    @property
    def noun(self) -> str:
        """The name of a row's content: array or text."""
        return "array" if self.is_of_arrays else "text"

    def has(self, *columns: str) -> bool:
        return all(column in self.schema.names for column in columns)

    def ask(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Return the first MAX_EXAMPLES rows of a SELECT over `data` (see `view_data`)."""
        return self.con.execute(f"{query} LIMIT {MAX_EXAMPLES}", list(parameters)).fetchall()

    def figures(self, query: str) -> tuple[int, ...]:
        """Return the one row of whole numbers that a SELECT over `data` gives."""
        return tuple(map(int, self.con.execute(query).fetchone() or ()))

    def count(self, query: str) -> int:
        return self.figures(query)[0]

    def frame(self, name: str) -> pd.DataFrame:
        """Return one of the views by name: rows, texts, arrays or classes."""
        classes = pd.DataFrame(map(asdict, self.classes))
        frame = {"rows": self.rows, "texts": self.contents, "arrays": self.contents, "classes": classes}[name]
        assert frame is not None, "no expectation looks at texts or arrays where there are none"
        return frame


@contextmanager
def read_tables(path: Path, contract: Contract, *, spill: Path) -> Generator[Tables]:
    """Read the columns of data.parquet that the contract names; the folder `spill` takes what exceeds DuckDB's
    memory."""
    schema = pq.read_schema(path)
    named = [name for name in contract.columns if name in schema.names]
    is_of_arrays = "values" in named and is_array(schema.field("values").type)
    has_label = "label" in named
    with duckdb.connect(config={"memory_limit": MEMORY_LIMIT, "temp_directory": str(spill)}) as con:
        arrays = read_arrays(path) if is_of_arrays else None
        view_data(con, path, named, arrays, is_mixed=contract.max_unlabelled_share is not None)
        yield Tables(
            con,
            schema,
            rows=read_rows(path, named, arrays, is_mixed=contract.max_unlabelled_share is not None),
            contents=read_contents(con) if has_label and (is_of_arrays or "text" in named) else None,
            classes=read_classes(con, contract.labels or ()) if has_label else (),
            is_of_arrays=is_of_arrays,
        )


def view_data(
    con: duckdb.DuckDBPyConnection, path: Path, columns: Sequence[str], arrays: pa.Table | None, *, is_mixed: bool
) -> None:
    """Create the view `data`, a row for each of the file's.

    Its columns are `row`, from 1; `content`, the text or the array's digest; `label`; and `judged`, the content to
    compare with others, which is null for an unlabelled row where the contract allows such rows (`is_mixed`).
    """
    text, label = (f"{name}::VARCHAR" if name in columns else "NULL::VARCHAR" for name in ("text", "label"))
    rows = (
        f"SELECT file_row_number + 1 AS row, {text} AS content, {label} AS label "
        f"FROM read_parquet({quoted(path)}, file_row_number = true)"
    )
    if arrays is not None:
        con.register("arrays", arrays.select(["row", "digest"]))
        rows = f"SELECT row, digest AS content, label FROM ({rows}) JOIN arrays USING (row)"
    judged = "CASE WHEN label IS NOT NULL THEN content END" if is_mixed else "content"
    con.execute(f"CREATE VIEW data AS SELECT *, {judged} AS judged FROM ({rows})")


def quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


def read_rows(path: Path, columns: Sequence[str], arrays: pa.Table | None, *, is_mixed: bool) -> pd.DataFrame:
    """Read the columns as pandas types: decimals become floats, and an all-null column becomes text.

    Long labels are cut for display.
    """
    table = pq.read_table(path, columns=[name for name in columns if arrays is None or name != "values"])
    for position, field in enumerate(table.schema):
        if pa.types.is_decimal(field.type):
            table = table.set_column(position, field.name, table.column(position).cast(pa.float64()))
        if pa.types.is_null(field.type):
            table = table.set_column(position, field.name, table.column(position).cast(pa.string()))
    rows = table.to_pandas(types_mapper=NULLABLE.get)
    if is_text(rows, "label"):
        rows["label"] = rows["label"].str.slice(0, SHOWN_LENGTH)
    if is_text(rows, "text"):
        rows[LENGTH] = rows["text"].str.len()
        if is_mixed:
            rows[LABELLED_TEXT] = rows["text"].where(rows["label"].notna())
    if arrays is not None:
        for name in arrays.column_names[2:]:
            rows[name] = arrays[name].to_pandas(types_mapper=NULLABLE.get)
        # This type, which no column of the file is read as, tells Great Expectations that it is an array.
        rows["values"] = arrays["digest"].to_pandas().astype(pd.StringDtype())
        if is_mixed:
            rows[LABELLED_VALUES] = rows["values"].where(rows["label"].notna())
    return rows


def is_text(rows: pd.DataFrame, column: str) -> bool:
    return column in rows and rows[column].dtype == "str"


def read_contents(con: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    return con.execute(
        f"SELECT content[:{SHOWN_LENGTH}] AS content, num_rows, num_labels FROM ("
        "SELECT judged AS content, min(row) AS first_row, count(*) AS num_rows, count(DISTINCT label) AS num_labels "
        "FROM data WHERE judged IS NOT NULL GROUP BY judged) ORDER BY first_row"
    ).df()


def read_classes(con: duckdb.DuckDBPyConnection, labels: Sequence[str]) -> tuple[Class, ...]:
    counts = dict(con.execute("SELECT label, count(*) FROM data WHERE label IS NOT NULL GROUP BY label").fetchall())
    num_labelled = max(sum(counts.values()), 1)
    return tuple(Class(label, counts.get(label, 0), counts.get(label, 0) / num_labelled) for label in labels)
