"""A window of the traffic log: the newest answers of one version, with the feedback on them, read by DuckDB.

Requests that name a purpose (the page's own, for which words mattered) are no traffic of users, and are left out. Half
a line, which a kill may leave at the end of a file, is skipped. The files may be written to while they are read.
"""

import json
import re
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from components.plumbing.errors import InputError
from serving.log.segments import FEEDBACK, TRAFFIC, paths_of

HASH = re.compile("sha256:[0-9a-f]{64}")
LINES = {
    TRAFFIC: {
        "request_id": "VARCHAR", "item": "INTEGER", "time": "TIMESTAMPTZ", "input": "JSON", "length": "BIGINT",
        "output": "JSON", "version": "VARCHAR", "latency_ms": "DOUBLE", "status": "INTEGER",
        "purpose": "VARCHAR", "requests": "BIGINT",
    },
    FEEDBACK: {"request_id": "VARCHAR", "item": "INTEGER", "time": "TIMESTAMPTZ", "label": "VARCHAR"},
}  # fmt: skip
"""The columns that are read from each kind of file, with their types in DuckDB."""

# Which version is watched: the one that answered most of the newest answers. In shadow mode a challenger answers some.
VERSION = """
    SELECT version FROM (
        SELECT version FROM traffic WHERE status = 200 AND time >= $since AND purpose IS NULL
        ORDER BY time DESC, item DESC LIMIT $newest
    ) GROUP BY version ORDER BY count(*) DESC, version LIMIT 1
"""
# An id that a client gave twice has its feedback on the newer request.
ROWS = """
    WITH answered AS (
        SELECT *, row_number() OVER (PARTITION BY request_id, item ORDER BY time DESC) AS age
        FROM traffic WHERE status = 200 AND version = $version AND time >= $since AND purpose IS NULL
        ORDER BY time DESC, item DESC LIMIT $last
    ), newest AS (
        SELECT request_id, item, arg_max(label, time) AS actual, max(time) AS told FROM feedback
        GROUP BY request_id, item
    )
    SELECT answered.request_id, item, time, input, length, output,
        CASE WHEN age = 1 THEN actual END AS actual, CASE WHEN age = 1 THEN told END AS told
    FROM answered LEFT JOIN newest USING (request_id, item) ORDER BY time, request_id, item
"""
REQUESTS = """
    SELECT coalesce(status, 0) AS status, coalesce(requests, 1) AS requests, latency_ms FROM traffic
    WHERE time >= $since AND (version = $version OR version IS NULL) AND coalesce(item, 0) = 0 AND purpose IS NULL
"""


@dataclass(frozen=True)
class Row:
    """One text or array, its answer, and the label that was right."""

    request_id: str
    item: int
    time: datetime
    input: Any
    """The text or array; None where the recipe keeps hashes."""
    length: int | None
    output: Any
    actual: str | None
    """The label that feedback gives; None without feedback."""
    told: datetime | None
    """The time at which feedback was given; None without feedback."""


@dataclass(frozen=True)
class Window:
    version: str
    """The first 12 digits of the digest of the model that answered, in whatever build of its service."""
    rows: list[Row]
    """The rows of the window, the oldest first."""
    num_requests: Counter[int]
    """The number of requests since the oldest row, by HTTP status."""
    latencies_ms: list[float]
    """The latencies, in ms, of the requests that were answered."""

    @property
    def num_feedback(self) -> int:
        """The number of rows with feedback."""
        return sum(row.actual is not None for row in self.rows)


def read_window(folder: Path, *, last: int, since: datetime | None, newest: int) -> Window | None:
    """Read the `last` answers of the version that gave most of the `newest` ones; None where nothing was answered,
    InputError where the log cannot be read."""
    import duckdb

    con = duckdb.connect(config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"})
    try:
        con.execute("SET TimeZone = 'UTC'")
        for kind, columns in LINES.items():
            make_view(con, folder, kind, columns)
        start = since or datetime.fromisoformat("1970-01-01T00:00:00+00:00")
        found = con.execute(VERSION, {"since": start, "newest": newest}).fetchone()
        if found is None:
            return None
        given = {"version": found[0], "since": start, "last": last}
        rows = [row_of(*values) for values in con.execute(ROWS, given).fetchall()]
        asked = con.execute(REQUESTS, {"version": found[0], "since": rows[0].time}).fetchall()
    except duckdb.Error as error:
        raise InputError(f"the traffic log {folder} cannot be read: {str(error).splitlines()[0]}") from error
    finally:
        con.close()
    num_requests: Counter[int] = Counter()
    for status, requests, _ in asked:
        num_requests[status] += requests
    return Window(
        version=found[0],
        rows=rows,
        num_requests=num_requests,
        latencies_ms=[latency for status, _, latency in asked if status == 200 and latency is not None],
    )


def make_view(con: Any, folder: Path, kind: str, columns: dict[str, str]) -> None:
    """Make a table of the lines of every file of one kind; without files it is empty."""
    paths = [str(path) for path in paths_of(folder, kind) if path.stat().st_size]
    if not paths:
        con.execute(f"CREATE TABLE {kind} ({', '.join(f'{name} {type_}' for name, type_ in columns.items())})")
        return
    types = "{" + ", ".join(f"{name}: '{type_}'" for name, type_ in columns.items()) + "}"
    con.execute(
        f"CREATE TABLE {kind} AS SELECT * FROM read_json(?, format = 'newline_delimited', ignore_errors = true, "
        f"maximum_object_size = 67108864, columns = {types}) WHERE request_id IS NOT NULL AND time IS NOT NULL",
        [paths],
    )


def row_of(
    request_id: str, item: int, time: datetime, input: str | None, length: int | None, output: str | None,
    actual: str | None, told: datetime | None,
) -> Row:  # fmt: skip
    asked = json.loads(input) if input is not None else None
    is_hash = isinstance(asked, str) and HASH.fullmatch(asked) is not None
    answer = json.loads(output) if output is not None else None
    return Row(request_id, item, time, None if is_hash else asked, length, answer, actual, told)
