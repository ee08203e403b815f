"""ingest: the rows that one query selects from a source.

Reads the recipe's source (see `components/sources`). Writes `data.parquet` and the data set's card, `card.json`. DuckDB
(https://duckdb.org) works out of core: the source's rows go into a table `source` of a database on disk, rows that
cannot be read are set apart and counted, and the query runs with no access to anything outside the database.
"""

import math
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from components.ingest.feedback import load_feedback
from components.ingest.query import Column, write_query
from components.ingest.reading import Loaded, load
from components.ingest.session import session
from components.params import FileSource, GeneratorSource, Ingest, UrlSource
from components.plumbing.artifacts import artifact, checkpoints, observations, project, write_json
from components.plumbing.errors import BadRowsError, SourceError, examples
from components.sources import Fetched, fetch
from components.sources.generator import ORIGINS
from components.sources.web import named
from components.tracking.tracker import Tracker


@dataclass(frozen=True)
class Inputs:
    project: Path = project()


@dataclass(frozen=True)
class Outputs:
    data: Path = artifact("data.parquet")
    card: Path = artifact("card.json")
    work: Path = checkpoints()
    observations: Path = observations()


@dataclass(frozen=True)
class Report:
    num_rows: int
    """The number of rows that the query gave."""
    num_columns: int
    num_source_rows: int
    """The number of source rows that could be read."""
    num_bad_rows: int
    """The number of source rows that could not be read; `bad_rows` shows the first of them."""
    bad_share: float
    bad_rows: str
    size_bytes: int
    """The size of data.parquet in bytes."""
    source_sha256: str


def run(params: Ingest, inputs: Inputs, outputs: Outputs, *, tracker: Tracker) -> Report:
    """Fetch the source, read it, run the query and describe the data set; raise SourceError where any of them cannot be
    used."""
    shutil.rmtree(outputs.work, ignore_errors=True)
    try:
        fetched = fetch(params.source, root=inputs.project, folder=outputs.work / "source")
        check_not_empty(fetched)
        before = stamps(fetched)
        with session(outputs.work / "duckdb") as con:
            loaded = load(con, params.format, fetched, work=outputs.work)
            check_unchanged(fetched, before)
            leave_bad_rows(loaded, outputs.observations, tracker)
            check_bad_rows(loaded, params.max_bad_share)
            learned = load_feedback(con, params.feedback, root=inputs.project) if params.feedback else None
            columns = write_query(con, params.query, outputs.data)
            (num_rows,) = con.execute("SELECT count(*) FROM read_parquet(?)", [str(outputs.data)]).fetchone() or (0,)
    finally:
        shutil.rmtree(outputs.work, ignore_errors=True)
    if num_rows == 0:
        raise SourceError(f"the query gives no rows of the {loaded.num_rows} of the source; look at its WHERE")
    write_json(outputs.card, card(params, fetched, columns, num_rows, learned))
    return Report(
        num_rows=num_rows,
        num_columns=len(columns),
        num_source_rows=loaded.num_rows,
        num_bad_rows=loaded.num_bad,
        bad_share=round(loaded.bad_share, 6),
        bad_rows=loaded.examples(),
        size_bytes=outputs.data.stat().st_size,
        source_sha256=fetched.sha256,
    )


def check_not_empty(fetched: Fetched) -> None:
    empty = [path.name for path in fetched.paths if path.stat().st_size == 0]
    if empty:
        raise SourceError(f"the source holds nothing in {examples(empty)}; an empty file has no rows")


def stamps(fetched: Fetched) -> dict[str, tuple[int, int]]:
    """Return the size of each file, and when it was last written."""
    found = {path.name: path.stat() for path in fetched.paths}
    return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in found.items()}


def check_unchanged(fetched: Fetched, before: dict[str, tuple[int, int]]) -> None:
    """Raise SourceError where a file was written to while it was read: its rows are not those of its sha256."""
    after = stamps(fetched)
    changed = [name for name in before if before[name] != after[name]]
    if changed:
        raise SourceError(
            f"{examples(changed)} changed while the rows were read; run again once it is whole. Whoever writes it does "
            "best to write another file and to rename that (mv)"
        )


def leave_bad_rows(loaded: Loaded, folder: Path, tracker: Tracker) -> None:
    """Write the first rows that could not be read to the observations."""
    if not loaded.bad:
        return
    path = folder / "bad_rows.json"
    write_json(path, [asdict(bad) for bad in loaded.bad])
    tracker.log_file(path)


def check_bad_rows(loaded: Loaded, max_bad_share: float) -> None:
    if loaded.num_rows == 0 and loaded.num_bad == 0:
        raise SourceError("the source has no rows, just a header; look at ingest.format and at the file")
    # A share of few rows is less than one row, and one footer line would stop a recipe whose rows are all well.
    if loaded.num_bad > math.ceil(max_bad_share * (loaded.num_rows + loaded.num_bad)):
        told = (
            f"{loaded.num_bad} of {loaded.num_rows + loaded.num_bad} rows cannot be read ({loaded.bad_share:.2%}; "
            f"max_bad_share allows {max_bad_share:.2%}): {loaded.examples()}; mend them, or look at ingest.format"
        )
        if loaded.num_rows == 0:
            raise SourceError(told)  # it is no such file
        figures = {"num_bad_rows": loaded.num_bad, "bad_share": loaded.bad_share, "max_bad_share": max_bad_share}
        raise BadRowsError(told, report=figures)


def card(
    params: Ingest, fetched: Fetched, columns: list[Column], num_rows: int, learned: dict[str, Any] | None
) -> dict[str, Any]:
    """Return the data set's card, for a person who meets data.parquet; it holds no secret and no folder of this
    machine."""
    source = params.source.model_dump(mode="json", exclude_none=True)
    if isinstance(params.source, UrlSource):
        source["url"] = named(params.source.url)
    if isinstance(params.source, FileSource) and Path(params.source.path).is_absolute():
        source["path"] = Path(params.source.path).name
    return {
        "columns": [asdict(column) for column in columns],
        "format": params.format.model_dump(mode="json", exclude_defaults=True) if params.format else None,
        "licence": params.licence,
        "num_rows": num_rows,
        "origin": ORIGINS[params.source.name] if isinstance(params.source, GeneratorSource) else None,
        "query": params.query,
        "source": source,
        "source_sha256": fetched.sha256,
        **({"feedback": learned} if learned is not None else {}),
    }
