"""A DuckDB database on disk that stays within a memory limit, and its errors as one line."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from components.plumbing.errors import DiskFullError, SourceError

if TYPE_CHECKING:
    import duckdb

MEMORY_LIMIT = "1GB"
AS_TEXT = r"""
    CREATE MACRO as_text(value) AS CASE
        WHEN typeof(value) LIKE 'DECIMAL%' THEN regexp_replace(CAST(value AS VARCHAR), '\.0*$|(\.\d*?[1-9])0+$', '\1')
        WHEN typeof(value) NOT IN ('DOUBLE', 'FLOAT') AND NOT is_json_float(value) THEN
            CASE WHEN typeof(value) = 'JSON' THEN to_json(value) ->> '$' ELSE CAST(value AS VARCHAR) END
        WHEN NOT isfinite(TRY_CAST(value AS DOUBLE)) THEN NULL
        WHEN abs(TRY_CAST(value AS DOUBLE)) < 9007199254740992 AND TRY_CAST(value AS DOUBLE) % 1 = 0 THEN
            CAST(TRY_CAST(TRY_CAST(value AS DOUBLE) AS BIGINT) AS VARCHAR)
        ELSE CAST(value AS VARCHAR)
    END
"""
"""The SQL of `as_text(value)`, which a recipe's query may use: a value of any type as text. A string of JSON is without
its quotes, a whole number is written as one, whether the file keeps it as 1 or as 1.0, and NaN is NULL."""
IS_JSON_FLOAT = """
    CREATE MACRO is_json_float(value) AS typeof(value) = 'JSON' AND json_type(to_json(value)) = 'DOUBLE'
"""


@contextmanager
def session(folder: Path) -> Generator["duckdb.DuckDBPyConnection"]:
    """Open a new database in `folder`, which also takes what does not fit into memory.

    In the block, errors of memory, input and output become SourceError, and a full disk becomes DiskFullError.
    """
    import duckdb

    folder.mkdir(parents=True)
    settings: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": MEMORY_LIMIT,
        "temp_directory": str(folder / "spill"),
        "preserve_insertion_order": "true",
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
    }
    with duckdb.connect(str(folder / "rows.duckdb"), config=settings) as con:
        con.execute("SET python_enable_replacements = false")
        con.execute("SET enable_progress_bar = false")
        con.execute("SET TimeZone = 'UTC'")  # a time as text would be another on another machine
        con.execute(IS_JSON_FLOAT)
        con.execute(AS_TEXT)
        try:
            yield con
        except duckdb.OutOfMemoryException as error:
            raise SourceError(
                f"the rows or the query need more than {MEMORY_LIMIT} of memory: {first_line(error)}"
            ) from error
        except duckdb.IOException as error:
            if "No space left" not in str(error):
                raise SourceError(first_line(error)) from error
            raise DiskFullError(
                f"no space left on the disk while reading the source into {folder}; "
                "nothing earlier is lost: free some space and run again"
            ) from error


def first_line(error: Exception) -> str:
    """Return DuckDB's own words, without the error's name or the excerpt of the query."""
    line = str(error).split("\n", 1)[0]
    return line.split(": ", 1)[-1][:300]
