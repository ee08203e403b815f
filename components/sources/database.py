"""The rows that a database returns for a SELECT, in batches, as Parquet files.

The database's URL comes from the environment and appears in no message, log or file.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from components.params import SqlSource
from components.plumbing.artifacts import disk_errors
from components.plumbing.errors import SourceError
from components.sources.fetched import Fetched, digest_of

BATCH_ROWS = 50_000


def fetch(source: SqlSource, *, root: Path, folder: Path) -> Fetched:
    """Write one Parquet file per batch of rows into `folder`; the transaction is never committed.

    Raises SourceError where the database cannot be reached or read, or gives no rows.
    """
    del root  # no path is named
    import sqlalchemy
    import sqlalchemy.exc

    url = os.environ.get(source.url_variable, "")
    if not url:
        raise SourceError(
            f"the environment variable {source.url_variable} is not set; "
            "put the database's URL into it (postgresql://user:password@host/database)"
        )
    rows = folder / "rows"
    shutil.rmtree(rows, ignore_errors=True)
    rows.mkdir(parents=True)
    try:
        engine = sqlalchemy.create_engine(url)
        with engine.connect() as connection:
            result = connection.execution_options(stream_results=True, max_row_buffer=BATCH_ROWS).execute(
                sqlalchemy.text(source.statement)
            )
            if not result.returns_rows:
                raise SourceError(f"source.statement gives no rows; it must be a SELECT: {source.statement[:80]!r}")
            names = tuple(result.keys())
            for number, batch in enumerate(result.partitions(BATCH_ROWS)):
                write_batch(batch, names, rows / f"{number:06}.parquet")
        engine.dispose()
    except (sqlalchemy.exc.SQLAlchemyError, ModuleNotFoundError) as error:
        # Not 'from error': a driver's message may hold the URL.
        raise SourceError(f"the database in {source.url_variable} {reason(error, url)}") from None
    paths = tuple(sorted(rows.iterdir()))
    if not paths:
        raise SourceError(f"the database gave no rows for {source.statement[:80]!r}")
    return Fetched(paths, rows, digest_of(paths, top=rows), is_many=False)


def write_batch(batch: Sequence[Sequence[Any]], names: Sequence[str], path: Path) -> None:
    """Write a batch as a Parquet file; raise SourceError where a column has values of no plain type.

    A column that is all null in one batch takes its type from the other batches when they are read together.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: Mapping[str, pa.Array] = {}
    for name, values in zip(names, zip(*batch, strict=True), strict=True):
        try:
            columns[name] = pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
            raise SourceError(
                f"column '{name}' of source.statement has values of no plain type; cast it: {error}"
            ) from None
    with disk_errors(path):
        pq.write_table(pa.table(columns), path)


def reason(error: Exception, url: str) -> str:
    """Return the reason why the database did not answer, in words, with nothing of its URL."""
    import sqlalchemy
    import sqlalchemy.exc

    if isinstance(error, ModuleNotFoundError):
        return f"needs the driver '{error.name}', which is not installed"
    if isinstance(error, sqlalchemy.exc.ArgumentError):
        return "has no URL that can be read; it must look like postgresql://user:password@host/database"
    said = " ".join(str(getattr(error, "orig", None) or type(error).__name__).split())
    parsed = sqlalchemy.make_url(url)
    for secret in (url, parsed.password, parsed.username, parsed.host, parsed.database):
        said = said.replace(str(secret), "***") if secret else said
    return f"failed: {said[:300]}"
