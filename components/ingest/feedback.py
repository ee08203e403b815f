"""The table `feedback`: rows that users of the service labelled, which the query may join to the source's rows."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.ingest.session import first_line
from components.plumbing.artifacts import sha256_of
from components.plumbing.errors import SourceError

if TYPE_CHECKING:
    import duckdb

COLUMNS = (
    '"text" VARCHAR, "values" FLOAT[], label VARCHAR, request_id VARCHAR, item BIGINT, "time" VARCHAR, '
    "version VARCHAR, predicted VARCHAR"
)


def load_feedback(con: "duckdb.DuckDBPyConnection", named: str, *, root: Path) -> dict[str, Any]:
    """Make the table from a Parquet file, whose path is relative to `root`; return the card's entry on the file.

    The entry holds the path, the number of rows and the sha256. Where there is no file yet, the table has no rows.
    Raises SourceError where the file cannot be read, or is tracked by DVC but not here.
    """
    import duckdb

    path = root / Path(named).expanduser()
    con.execute(f"CREATE TABLE feedback ({COLUMNS})")
    note = path.with_name(f"{path.name}.dvc")
    if not path.exists() and note.is_file():
        raise SourceError(f"ingest.feedback: {named} is not here, though {note.name} is; 'dvc pull {named}' brings it")
    if not path.exists():
        return {"path": named, "num_rows": 0, "sha256": None}
    try:
        con.execute("INSERT INTO feedback BY NAME SELECT * FROM read_parquet(?)", [str(path)])
    except (duckdb.OutOfMemoryException, MemoryError):
        raise
    except duckdb.Error as error:
        raise SourceError(
            f"ingest.feedback: {named} cannot be read ({first_line(error)}); 'modelyard monitor' writes it, and "
            "'dvc checkout' brings the last version back"
        ) from error
    (num_rows,) = con.execute("SELECT count(*) FROM feedback").fetchone() or (0,)
    return {"path": named, "num_rows": num_rows, "sha256": sha256_of(path)}
