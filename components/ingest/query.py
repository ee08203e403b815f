"""The recipe's one SELECT over the table `source`, and the Parquet file of its rows."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from components.ingest.repeatable import check_repeatable
from components.ingest.session import first_line
from components.plumbing.errors import SourceError, did_you_mean, examples

if TYPE_CHECKING:
    import duckdb

# Rows of one group of the Parquet file, which is held in memory whole while it is written.
ROW_GROUP_ROWS = 65_536


@dataclass(frozen=True)
class Column:
    name: str
    type: str
    """DuckDB's name for the type."""


def write_query(con: "duckdb.DuckDBPyConnection", query: str, path: Path) -> list[Column]:
    """Write the query's rows to a Parquet file and return its columns; equal rows give equal bytes.

    The query sees only the tables of its own database: files, other databases, extensions and settings are closed
    before it runs. Raises SourceError where the query is not one SELECT, would not give the same rows each time, or
    fails.
    """
    import duckdb

    check_one_select(con, query)
    check_repeatable(con, query)
    there = [name for (name,) in con.execute("SELECT column_name FROM (DESCRIBE source)").fetchall()]
    con.execute("SET threads = 1")  # so that row groups, and sums of floats, come out the same each time
    con.execute("SET allowed_paths = ?", [[str(path)]])
    con.execute("SET enable_external_access = false")
    con.execute("SET lock_configuration = true")
    try:
        con.execute(f"CREATE VIEW result AS {query}")
        described = con.execute("SELECT column_name, column_type FROM (DESCRIBE result)").fetchall()
        con.execute(
            f"COPY result TO '{quoted(path)}' "
            f"(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP_ROWS}, USE_TMP_FILE false)"
        )
    except (duckdb.OutOfMemoryException, duckdb.IOException):
        raise
    except duckdb.Error as error:
        raise SourceError(f"ingest.query: {explained(error, there)}") from error
    return [Column(name, kind) for name, kind in described]


def quoted(path: Path) -> str:
    return str(path).replace("'", "''")


def check_one_select(con: "duckdb.DuckDBPyConnection", query: str) -> None:
    """Raise SourceError where the query is anything but one SELECT."""
    import duckdb

    try:
        statements = con.extract_statements(query)
    except duckdb.Error as error:
        raise SourceError(f"ingest.query: {first_line(error)}") from error
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        seen = ", ".join(statement.type.name for statement in statements) or "nothing"
        raise SourceError(f"ingest.query must be one SELECT over the table 'source'; it is: {seen}")


def explained(error: Exception, columns: list[str]) -> str:
    """Return the reason why the query failed in words, with a hint where it is a name or a conversion."""
    said = first_line(error)
    missing = (
        r'[Cc]olumn "([^"]+)" (?:not found|referenced that exists in the SELECT clause)'
        r'|does not have a column named "([^"]+)"'
    )
    if column := re.search(missing, str(error)):
        name = column[1] or column[2]
        return f"no column '{name}' in the source{did_you_mean(name, columns)}; it has {examples(columns)}"
    if table := re.search(r"Table with name (\S+) does not exist", said):
        return f"no table '{table[1]}'; the source's rows are in the table 'source'"
    if "Conversion Error" in str(error):
        return f"{said}; TRY_CAST gives NULL for such a value, and WHERE leaves it out"
    return said
