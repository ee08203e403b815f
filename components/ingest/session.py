"""A DuckDB database on disk that stays within a memory limit, and its errors as one line."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from components.plumbing.errors import DiskFullError, SourceError

if TYPE_CHECKING:
    import duckdb

MEMORY_LIMIT = "1GB"


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
