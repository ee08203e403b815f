"""What the expectations look at: the rows, the distinct texts and the classes, and questions about single rows."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from components.errors import MAX_EXAMPLES

MEMORY_LIMIT = "1GB"

# Of a text or label that is shown.
SHOWN_LENGTH = 100

# The name of the column of text lengths; the space keeps it apart from a column of the user's.
LENGTH = "text length"

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
    """Of the rows that have a label."""


@dataclass(frozen=True)
class Tables:
    """The data set in three views. `rows` has the judged columns and the length of each text."""

    con: duckdb.DuckDBPyConnection
    schema: pa.Schema
    rows: pd.DataFrame
    texts: pd.DataFrame | None
    """One row a distinct text, in the order of their first rows: `text` (cut), `num_rows`, `num_labels`.
    None where the rows have no text or no label."""
    classes: tuple[Class, ...]
    """One for each label of the contract, in its order; none where the rows have no label."""

    @property
    def num_rows(self) -> int:
        return len(self.rows)

    def has(self, *columns: str) -> bool:
        return all(column in self.schema.names for column in columns)

    def ask(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """The first answers to a SELECT over `data` (row, text, label)."""
        return self.con.execute(f"{query} LIMIT {MAX_EXAMPLES}", list(parameters)).fetchall()

    def figures(self, query: str) -> tuple[int, ...]:
        """The one row of numbers that a SELECT over `data` gives."""
        return tuple(map(int, self.con.execute(query).fetchone() or ()))

    def count(self, query: str) -> int:
        return self.figures(query)[0]

    def frame(self, name: str) -> pd.DataFrame:
        """One of the views, by its name."""
        frames = {"rows": self.rows, "texts": self.texts, "classes": pd.DataFrame(map(asdict, self.classes))}
        frame = frames[name]
        assert frame is not None, "no expectation looks at texts where there are none"
        return frame


@contextmanager
def read_tables(path: Path, columns: Sequence[str], labels: Sequence[str], *, spill: Path) -> Generator[Tables]:
    """Read what of data.parquet the contract names; `spill` is for what does not fit into DuckDB's memory."""
    schema = pq.read_schema(path)
    has_label = "label" in schema.names
    with duckdb.connect(config={"memory_limit": MEMORY_LIMIT, "temp_directory": str(spill)}) as con:
        view_data(con, path, schema)
        yield Tables(
            con,
            schema,
            rows=read_rows(path, [name for name in columns if name in schema.names]),
            texts=read_texts(con) if has_label and "text" in schema.names else None,
            classes=read_classes(con, labels) if has_label else (),
        )


def view_data(con: duckdb.DuckDBPyConnection, path: Path, schema: pa.Schema) -> None:
    """The view `data`: the row's number from 1, and its text and label, null where there is no such column."""
    text, label = (f"{name}::VARCHAR" if name in schema.names else "NULL::VARCHAR" for name in ("text", "label"))
    con.execute(
        f"CREATE VIEW data AS SELECT file_row_number + 1 AS row, {text} AS text, {label} AS label "
        f"FROM read_parquet({quoted(path)}, file_row_number = true)"
    )


def quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


def read_rows(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """The columns as pandas has them; decimals become floats, what has no type but null becomes text.

    Long labels are cut for show.
    """
    table = pq.read_table(path, columns=columns)
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
    return rows


def is_text(rows: pd.DataFrame, column: str) -> bool:
    return column in rows and rows[column].dtype == "str"


def read_texts(con: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    return con.execute(
        f"SELECT text[:{SHOWN_LENGTH}] AS text, num_rows, num_labels FROM ("
        "SELECT text, min(row) AS first_row, count(*) AS num_rows, count(DISTINCT label) AS num_labels "
        "FROM data WHERE text IS NOT NULL GROUP BY text) ORDER BY first_row"
    ).df()


def read_classes(con: duckdb.DuckDBPyConnection, labels: Sequence[str]) -> tuple[Class, ...]:
    counts = dict(con.execute("SELECT label, count(*) FROM data WHERE label IS NOT NULL GROUP BY label").fetchall())
    num_labelled = max(sum(counts.values()), 1)
    return tuple(Class(label, counts.get(label, 0), counts.get(label, 0) / num_labelled) for label in labels)
