"""The loading of a source's files into the DuckDB table `source`, with a reader for each format.

Rows that cannot be read are set apart and counted. The columns of a CSV are all text: a guessed type would change with
the rows that are there, so the query casts. JSON lines keep the types that all their rows agree on; a column of texts,
numbers and other single values is text, so that one odd row does not change what all others hold. A folder's name
never makes a column (`label=a/rows.csv`). Where a source names several files, a column `filename` says which file a row
is from (its path below the source's folder), unless the rows have a column of that name.
"""

import csv
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from io import TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.ingest.decoding import MARK, codec_of, decode, is_utf_8
from components.ingest.evening import even
from components.ingest.files import BadRow, opened, packing_of
from components.ingest.kinds import check_kind, first_bytes, is_parquet
from components.ingest.lines import MAX_ROW_BYTES, as_utf_8, lines_of, load_lines, objects_of
from components.ingest.session import first_line
from components.params import CsvFormat, PlainFormat
from components.plumbing.errors import SourceError, examples
from components.sources import Fetched

if TYPE_CHECKING:
    import duckdb

    Connection = duckdb.DuckDBPyConnection

NUM_KEPT_BAD_ROWS = 100

# What stands for bytes that are not in the encoding.
REPLACED = "\ufffd"

CUT_OFF = "the end of a file is missing, as where a download or a copy was cut off; bring it again"

MIXED = "JSON"
"""DuckDB's name of the type of a column whose values are of several JSON types."""
MAX_NESTED_SHARE = 0.5
MAX_STRAY_SHARE = 0.05
"""The most rows, as a share, with bytes that are not in the encoding: with more, it is another encoding."""


@dataclass(frozen=True)
class Loaded:
    """The result of loading into `source`: the counts of rows, and the first bad ones."""

    num_rows: int
    num_bad: int
    """The number of lines in the files from which no row was made."""
    bad: tuple[BadRow, ...]
    """The first bad rows, at most NUM_KEPT_BAD_ROWS."""

    @property
    def bad_share(self) -> float:
        return self.num_bad / max(self.num_rows + self.num_bad, 1)

    def examples(self) -> str:
        return examples((f"{bad.file} row {bad.row}: {bad.reason}: {bad.text}" for bad in self.bad[:5]), width=140)


def load(con: "Connection", form: CsvFormat | PlainFormat | None, fetched: Fetched, *, work: Path) -> Loaded:
    """Make the table `source` from the files; raise SourceError where they cannot be read in the format.

    The rows of a database or a generator have no format and come as Parquet. Text in another encoding than UTF-8 is
    written anew below `work`.
    """
    import duckdb

    form_type = form.type if form else "rows"
    if form_type in TABLES:
        for path in fetched.paths:
            check_table(path, form_type)
    try:
        num_bad, bad = READERS[form_type](con, form, fetched, work)
    except (duckdb.OutOfMemoryException, duckdb.IOException):
        raise
    except duckdb.Error as error:
        reason = CUT_OFF if form_type == "parquet" and "No magic bytes" in str(error) else first_line(error)
        raise SourceError(f"the source cannot be read as {form_type}: {reason}") from error
    (num_rows,) = con.execute("SELECT count(*) FROM source").fetchone() or (0,)
    return Loaded(num_rows, num_bad, tuple(bad))


def read_csv(con: "Connection", form: CsvFormat, fetched: Fetched, work: Path) -> tuple[int, list[BadRow]]:
    """Read CSV with DuckDB, which sets the rows it rejects apart; return their number and the first of them.

    Rows with bytes that are not in the encoding are bad ones, too. Raises SourceError where these are more than a few:
    then the encoding is another.
    """
    columns = form.columns or header_of(form, fetched)
    if is_utf_8(form.encoding) and is_plain(fetched):
        found = read_one_ended(con, form, fetched, columns)
        if found is not None and found[2]:
            return found[:2]
        con.execute("DROP TABLE IF EXISTS source")
    decoded = decode(fetched, form.encoding, work / "decoded")
    found = read_one_ended(con, form, decoded.fetched, columns, again="again_")
    if found is None:
        con.execute("DROP TABLE IF EXISTS source")
        evened, plain = even(decoded.fetched, form, work / "evened", max_bytes=MAX_ROW_BYTES)
        found = read_utf_8(con, plain, evened, columns, again="evened_")
    num_bad, bad, _ = found
    holds_mark = " OR ".join(f"coalesce(contains({identifier(name)}, '{MARK}'), false)" for name in columns)
    num_rows, num_marked = con.execute(
        f"SELECT count(*), coalesce(sum(CAST(({holds_mark}) AS INTEGER)), 0) FROM source"
    ).fetchone() or (0, 0)
    if decoded.bad and num_marked > MAX_STRAY_SHARE * num_rows:
        raise not_encoded(decoded.bad[0].file, decoded.bad[0].row, form.encoding)
    con.execute(f"DELETE FROM source WHERE {holds_mark}")
    return num_bad + int(num_marked), [*decoded.bad, *bad][:NUM_KEPT_BAD_ROWS]


def is_plain(fetched: Fetched) -> bool:
    """Return whether DuckDB itself can open the files: it unpacks gzip, and by the name alone."""
    return all(packing_of(path) == ("gzip" if path.suffix == ".gz" else None) for path in fetched.paths)


def read_one_ended(
    con: "Connection", form: CsvFormat, fetched: Fetched, columns: tuple[str, ...], *, again: str = ""
) -> tuple[int, list[BadRow], bool] | None:
    """Read CSV as `read_utf_8` does; None where its lines end in several ways, which DuckDB does not read."""
    import duckdb

    try:
        return read_utf_8(con, form, fetched, columns, again=again)
    except duckdb.Error as error:
        if "invalid state" not in str(error):
            raise
    return None


def read_utf_8(
    con: "Connection", form: CsvFormat, fetched: Fetched, columns: tuple[str, ...], *, again: str = ""
) -> tuple[int, list[BadRow], bool]:
    """Read CSV in UTF-8; return the number of the rows that were rejected, the first of them, and whether all bytes
    were UTF-8. `again` begins the names of DuckDB's tables of what it rejects."""
    options = {
        "columns": "{" + ", ".join(f"{literal(name)}: 'VARCHAR'" for name in columns) + "}",
        "delim": literal(form.delimiter),
        "quote": literal(form.quote),
        "escape": literal(form.quote if form.escape is None else form.escape),
        "skip": str(form.skip),
        "header": str(form.header).lower(),
        "auto_detect": "false",
        "max_line_size": str(MAX_ROW_BYTES),
        "buffer_size": str(2 * MAX_ROW_BYTES),
        "store_rejects": "true",
        "rejects_table": literal(f"{again}errors"),
        "rejects_scan": literal(f"{again}scans"),
        "rejects_limit": "0",
        "hive_partitioning": "false",
        "filename": "true" if fetched.is_many and "filename" not in columns else "false",
    }
    said = ", ".join(f"{name}={value}" for name, value in options.items())
    con.execute(
        f"CREATE TABLE source AS SELECT {columns_of(fetched, columns)} FROM read_csv(?, {said})",
        [[str(path) for path in fetched.paths]],
    )
    rejects = f"""
        SELECT parse_filename(file_path) AS file, line AS row, any_value(error_type) AS type,
            any_value(error_message) AS message, any_value(csv_line) AS text
        FROM {again}errors JOIN {again}scans USING (scan_id, file_id)
        GROUP BY ALL ORDER BY file, row
    """
    (num_bad,) = con.execute(f"SELECT count(*) FROM ({rejects})").fetchone() or (0,)
    if con.execute(f"SELECT 1 FROM ({rejects}) WHERE type = 'INVALID ENCODING' LIMIT 1").fetchone():
        return int(num_bad), [], False
    if num_bad:
        num_bad = max(num_bad, num_lost_lines(con, form.model_copy(update={"encoding": "utf-8"}), fetched))
    kept = con.execute(f"SELECT file, row, message, text[:200] FROM ({rejects}) LIMIT {NUM_KEPT_BAD_ROWS}").fetchall()
    return int(num_bad), [BadRow(*row) for row in kept], True


def num_breaks(expression: str) -> str:
    """Return SQL for the number of line breaks in a text."""
    return f"(length({expression}) - length(replace({expression}, chr(10), '')))"


def num_lost_lines(con: "Connection", form: CsvFormat, fetched: Fetched) -> int:
    """Return the number of lines of the files, blank ones left out, that are in no row.

    An unclosed quote counts as one reject for DuckDB, yet it swallows many lines.
    """
    num_lines = 0
    for path in fetched.paths:
        with opened(path) as raw, TextIOWrapper(raw, encoding=form.encoding, errors="replace", newline="") as file:
            num_lines += sum(not line.isspace() for line in islice(file, form.skip, None))
    columns = [name for (name,) in con.execute("SELECT column_name FROM (DESCRIBE source)").fetchall()]
    breaks = " + ".join(f"coalesce(sum({num_breaks(identifier(name))}), 0)" for name in columns)
    (num_used,) = con.execute(f"SELECT count(*) + {breaks} FROM source").fetchone() or (0,)
    return int(num_lines - len(fetched.paths) * form.header - num_used)


def header_of(form: CsvFormat, fetched: Fetched) -> tuple[str, ...]:
    """Return the column names in the first row, which every file must share.

    A column without a name is called by its position from 0. Raises SourceError where the files differ, or a name is
    repeated or missing altogether.
    """
    headers = {path: first_row(path, form) for path in fetched.paths}
    first, *others = headers.items()
    for path, names in others:
        if names != first[1]:
            raise SourceError(
                f"{path.name} has the columns {examples(names)}, but {first[0].name} has {examples(first[1])}"
            )
    names = tuple(name or f"column{position}" for position, name in enumerate(first[1]))
    lower = [name.lower() for name in names]
    repeated = [name for name in names if lower.count(name.lower()) > 1]
    if repeated or not names:
        what = f"repeated names: {examples(repeated)}" if repeated else "no names"
        raise SourceError(f"the header of {first[0].name} has {what}; give each column a name of its own")
    return names


def first_row(path: Path, form: CsvFormat) -> tuple[str, ...]:
    quoting = csv.QUOTE_MINIMAL if form.quote else csv.QUOTE_NONE
    with (
        opened(path) as raw,
        TextIOWrapper(raw, encoding=codec_of(form.encoding), errors="replace", newline="") as file,
    ):
        rows = csv.reader(
            islice(file, form.skip, None), delimiter=form.delimiter, quotechar=form.quote or None, quoting=quoting,
            escapechar=form.escape, doublequote=form.escape is None,
        )  # fmt: skip
        try:
            names = tuple(next(rows, ()))
        except csv.Error as error:
            raise SourceError(f"the header of {path.name} cannot be read: {error}") from error
    if any(REPLACED in name for name in names):
        raise not_encoded(path.name, 1, form.encoding)
    return names


def not_encoded(file: str, row: int, encoding: str) -> SourceError:
    return SourceError(
        f"{file} is not {encoding.upper()} (row {row}); say its encoding in ingest.format.encoding, as Python names it "
        "(utf-8, utf-16, windows-1252, gb18030, …)"
    )


def columns_of(fetched: Fetched, columns: Iterable[str]) -> str:
    """Return SQL for every column; `filename`, which DuckDB gives as a whole path, is cut to below the source's
    folder."""
    if not fetched.is_many or "filename" in columns:
        return "*"
    return f"* REPLACE (substr(filename, {len(str(fetched.top)) + 2}) AS filename)"


def identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def read_parquet(con: "Connection", form: PlainFormat | None, fetched: Fetched, _: Path) -> tuple[int, list[BadRow]]:
    """Read Parquet, with the columns as they are; the batches of a database, which have no format, are joined by name
    and widest type."""
    paths = [str(path) for path in fetched.paths]
    by_name = f"union_by_name={str(form is None).lower()}, hive_partitioning=false"
    described = con.execute(f"SELECT column_name FROM (DESCRIBE FROM read_parquet(?, {by_name}))", [paths]).fetchall()
    columns = [name for (name,) in described]
    with_name = str(fetched.is_many and "filename" not in columns).lower()
    con.execute(
        f"CREATE TABLE source AS SELECT {columns_of(fetched, columns)} "
        f"FROM read_parquet(?, {by_name}, filename={with_name})",
        [paths],
    )
    return 0, []


def read_lines(con: "Connection", form: PlainFormat, fetched: Fetched, _: Path) -> tuple[int, list[BadRow]]:
    """Read text as one row per line, blank lines too: `line`, and `line_number` from 1."""
    load_lines(con, fetched, lines_of)
    name = ", filename" if fetched.is_many else ""
    con.execute(f"CREATE TABLE source AS SELECT line, line_number{name} FROM lines")
    con.execute("DROP TABLE lines")
    return 0, []


def read_jsonl(con: "Connection", form: PlainFormat, fetched: Fetched, _: Path) -> tuple[int, list[BadRow]]:
    """Read JSON objects, one a line (blank lines are skipped) or as `components/ingest/lines.py` finds them; the types
    are those that all of them agree on.

    A column that holds values of several types, most of them single ones, is read as text; a line with a list or an
    object there is a bad one. Returns the number of bad lines, those that are no JSON object too, and the first of
    them; raises SourceError where there is no object with a key.
    """
    load_lines(con, fetched, objects_of)
    marked = f"contains(line, '{MARK}')"
    good = f"CASE WHEN json_valid(line) AND NOT {marked} THEN json_type(line) = 'OBJECT' ELSE false END"
    bad = f"FROM lines WHERE trim(line) <> '' AND NOT {good}"
    num_lines, num_bad, num_marked = con.execute(
        f"SELECT (SELECT count(*) FROM lines), count(*), coalesce(sum(CAST({marked} AS INTEGER)), 0) {bad}"
    ).fetchone() or (0, 0, 0)
    kept = con.execute(
        f"SELECT filename, line_number, CASE WHEN {marked} THEN 'not UTF-8' ELSE 'not a JSON object' END, "
        f"replace(line[:200], '{MARK}', '{REPLACED}') {bad} LIMIT {NUM_KEPT_BAD_ROWS}"
    ).fetchall()
    if num_marked == num_lines or num_marked > max(1, MAX_STRAY_SHARE * num_lines):
        name, number = next(row[:2] for row in kept if row[2] == "not UTF-8")
        raise SourceError(f"{name} is not UTF-8 (line {number}); convert it: {as_utf_8(fetched.top / name)}")
    (structure,) = con.execute(f"SELECT json_group_structure(line::JSON) FROM lines WHERE {good}").fetchone() or (None,)
    columns = json.loads(structure) if structure else {}
    if not isinstance(columns, dict) or not columns:
        raise SourceError(f"{fetched.paths[0].name} has no line that is a JSON object with a key; {num_bad} are not")
    con.execute(
        "CREATE TABLE parsed AS SELECT filename, line_number, line, "
        f"from_json(line, {literal(json.dumps(typed(columns)))}) AS object FROM lines WHERE {good}"
    )
    con.execute("DROP TABLE lines")
    texts = [key for key, kind in columns.items() if kind == MIXED and is_mostly_single(con, key)]
    odd = " OR ".join(f"coalesce({is_nested(key)}, false)" for key in texts) or "false"
    (num_odd,) = con.execute(f"SELECT count(*) FROM parsed WHERE {odd}").fetchone() or (0,)
    reason = "a list or an object, where other rows have a text or a number"
    kept += con.execute(
        f"SELECT filename, line_number, {literal(reason)}, line[:200] FROM parsed WHERE {odd} "
        f"LIMIT {NUM_KEPT_BAD_ROWS - len(kept)}"
    ).fetchall()
    name = ", filename" if fetched.is_many and "filename" not in columns else ""
    as_texts = ", ".join(f"as_text({identifier(key)}) AS {identifier(key)}" for key in texts)
    con.execute(
        f"CREATE TABLE source AS SELECT *{f' REPLACE ({as_texts})' if texts else ''} "
        f"FROM (SELECT unnest(object){name} FROM parsed WHERE NOT ({odd}))"
    )
    con.execute("DROP TABLE parsed")
    return int(num_bad + num_odd), [BadRow(*row) for row in kept]


def is_nested(key: str) -> str:
    """Return SQL for whether the value of a key, of JSON's types, is a list or an object."""
    return f"json_type(object.{identifier(key)}) IN ('ARRAY', 'OBJECT')"


def is_mostly_single(con: "Connection", key: str) -> bool:
    """Return whether most values of a key of the table `parsed` are no lists and no objects."""
    found = con.execute(f"SELECT avg(CAST({is_nested(key)} AS INTEGER)) FROM parsed").fetchone()
    return found is not None and found[0] is not None and found[0] < MAX_NESTED_SHARE


def typed(structure: Any) -> Any:
    """Return the structure with the type text in place of what is null in every row."""
    if isinstance(structure, dict):
        return {key: typed(value) for key, value in structure.items()}
    if isinstance(structure, list):
        return [typed(value) for value in structure]
    return "VARCHAR" if structure == "NULL" else structure


def check_table(path: Path, form_type: str) -> None:
    """Raise SourceError where a file is of a kind that no reader reads, or of another format than the recipe says."""
    seen = first_bytes(path)
    check_kind(path, seen)
    if is_parquet(seen) != (form_type == "parquet"):
        is_now = "a Parquet file" if is_parquet(seen) else f"no Parquet file: it begins with {seen[:40]!r}"
        wanted = "{type: parquet}" if is_parquet(seen) else "what it is (csv or jsonl)"
        raise SourceError(f"{path.name} is {is_now}, but ingest.format is {form_type}; set that to {wanted}")


TABLES = ("csv", "jsonl", "parquet")
"""The formats of a table; any text may be lines."""

READERS: dict[str, Callable[..., tuple[int, list[BadRow]]]] = {
    "csv": read_csv,
    "jsonl": read_jsonl,
    "parquet": read_parquet,
    "lines": read_lines,
    "rows": read_parquet,
}
