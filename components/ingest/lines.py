"""The lines of text files, and the objects of JSON files, as a table of DuckDB's.

JSON comes as one object a line, as an array of objects, or as objects one after the other, laid out in any way; each
object is a line here. Whole numbers beyond 64 bits become texts, since DuckDB would keep their first digits only.
"""

import codecs
import json
import re
from collections.abc import Callable, Iterator
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING

from components.ingest.decoding import MARK, MARKED
from components.ingest.files import opened
from components.plumbing.errors import SourceError
from components.sources import Fetched

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

MAX_ROW_BYTES = 32 * 2**20
BATCH_ROWS = 20_000
BATCH_BYTES = 8 * 2**20
CHUNK = 2**20
WIDE = (
    (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
"""The byte order marks of encodings of two and four bytes a letter, the longer ones first."""
LARGE = re.compile(r"\d{19}")
BETWEEN = re.compile(r"[\s,\[\]]*")
"""What stands between the objects of a file: white space, and the commas and brackets of an array."""

Lines = Iterator[tuple[int, str]]
"""The number of each line, or of each object, from 1, and its text."""


def load_lines(con: "duckdb.DuckDBPyConnection", fetched: Fetched, read: Callable[[Path, str], Lines]) -> None:
    """Make the table `lines` (filename, line_number, line), in batches, of what `read(path, name)` yields of each
    file."""
    import duckdb
    import pyarrow as pa

    schema = pa.schema([("filename", pa.string()), ("line_number", pa.int64()), ("line", pa.string())])
    faults: list[SourceError] = []

    def batches() -> Iterator["pa.RecordBatch"]:
        try:
            yield from batches_of_lines(fetched, schema, read)
        except SourceError as error:
            faults.append(error)
            raise

    con.register("batches", pa.RecordBatchReader.from_batches(schema, batches()))
    try:
        con.execute("CREATE TABLE lines AS SELECT * FROM batches")
    except duckdb.Error:
        if faults:  # DuckDB would tell it with a traceback
            raise faults[0] from None
        raise
    finally:
        con.unregister("batches")


def batches_of_lines(
    fetched: Fetched, schema: "pa.Schema", read: Callable[[Path, str], Lines]
) -> Iterator["pa.RecordBatch"]:
    import pyarrow as pa

    names: list[str] = []
    numbers: list[int] = []
    lines: list[str] = []
    size = 0
    for path in fetched.paths:
        name = path.relative_to(fetched.top).as_posix()
        for number, line in read(path, name):
            names.append(name)
            numbers.append(number)
            lines.append(line)
            size += len(line)
            if len(lines) == BATCH_ROWS or size > BATCH_BYTES:
                yield pa.record_batch([names, numbers, lines], schema=schema)
                names, numbers, lines, size = [], [], [], 0
    if lines:
        yield pa.record_batch([names, numbers, lines], schema=schema)


def encoding_of(path: Path) -> str:
    """Return the encoding that a file's byte order mark says, or UTF-8."""
    with opened(path) as file:
        seen = file.read(4)
    return next((name for mark, name in WIDE if seen.startswith(mark)), "utf-8-sig")


def lines_of(path: Path, name: str) -> Lines:
    """Yield each line without its end; raise SourceError where a line is too long or not in the file's encoding."""
    for number, line in marked_lines_of(path, name):
        if MARK in line:
            raise SourceError(f"{name} is not UTF-8 (line {number}); convert it: {as_utf_8(path)}")
        yield number, line


def as_utf_8(path: Path) -> str:
    """Return the command that writes a file of Western text as UTF-8."""
    import shlex

    return f"iconv -f WINDOWS-1252 -t UTF-8 {shlex.quote(path.name)} > {shlex.quote('utf8_' + path.name)}"


def marked_lines_of(path: Path, name: str) -> Lines:
    """Yield each line without its end, with MARK in place of what is not in the file's encoding; raise SourceError
    where a line is too long."""
    with (
        opened(path) as raw,
        TextIOWrapper(raw, encoding=encoding_of(path), errors=MARKED, newline="\n") as file,
    ):
        number = 0
        while line := file.readline(MAX_ROW_BYTES + 1):
            number += 1
            if len(line) > MAX_ROW_BYTES:
                raise SourceError(f"{name}: line {number} is longer than {MAX_ROW_BYTES} characters")
            yield number, line.removesuffix("\n").removesuffix("\r")


def objects_of(path: Path, name: str) -> Lines:
    """Yield each JSON object of a file, or each line where it has one a line, good or not."""
    read = objects_in_stream if is_stream(path) else marked_lines_of
    for number, line in read(path, name):
        yield number, with_whole_numbers(line) if LARGE.search(line) else line


def is_stream(path: Path) -> bool:
    """Return whether the objects of a file are not one a line: its first one is not the whole of its first line."""
    with opened(path) as raw, TextIOWrapper(raw, encoding=encoding_of(path), errors=MARKED, newline="\n") as file:
        seen = file.read(CHUNK)
    start = seen[after_gap(seen, 0) :]
    try:
        _, end = json.JSONDecoder().raw_decode(start)
    except ValueError:
        return False
    return seen.lstrip().startswith("[") or start.partition("\n")[0].rstrip() != start[:end].rstrip()


def objects_in_stream(path: Path, name: str) -> Lines:
    """Yield the JSON values of a file that stand one after the other, or in an array; raise SourceError where one
    cannot be read."""
    decoder, number, is_last = json.JSONDecoder(), 0, False
    text, at, wanted = "", 0, CHUNK
    with opened(path) as raw, TextIOWrapper(raw, encoding=encoding_of(path), errors=MARKED, newline="\n") as file:
        while True:
            at = after_gap(text, at)
            try:
                _, end = decoder.raw_decode(text, at)
            except ValueError as error:
                if at == len(text) and is_last:
                    return
                if is_last or len(text) - at > MAX_ROW_BYTES:
                    raise SourceError(f"{name}: object {number + 1} cannot be read as JSON: {error}") from error
                more = file.read(wanted)
                text, at, wanted, is_last = text[at:] + more, 0, 2 * wanted, not more
                continue
            number, wanted = number + 1, CHUNK
            yield number, text[at:end]
            at = end


def after_gap(text: str, at: int) -> int:
    """Return where the next value begins."""
    gap = BETWEEN.match(text, at)
    return gap.end() if gap else at


def with_whole_numbers(line: str) -> str:
    """Return a JSON object with its whole numbers beyond 64 bits as texts; what is none stays as it is."""
    found: list[str] = []

    def whole(digits: str) -> int | str:
        number = int(digits)
        if -(2**63) <= number < 2**64:
            return number
        found.append(digits)
        return digits

    try:
        value = json.loads(line, parse_int=whole)
    except (ValueError, RecursionError):
        return line
    return json.dumps(value, ensure_ascii=False) if found else line
