"""The layout of a user's file: its format, encoding, delimiter, quoting and header."""

import codecs
import csv
import itertools
import shlex
from io import TextIOWrapper
from pathlib import Path
from typing import Literal

from components.ingest.reading import opened
from components.params import CsvFormat, PlainFormat
from components.plumbing.errors import SourceError, did_you_mean, examples

DELIMITED = {".csv": ",", ".tsv": "\t", ".txt": "\t"}
PLAIN: dict[str, Literal["jsonl", "parquet"]] = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".parquet": "parquet", ".pq": "parquet",
}  # fmt: skip
DELIMITERS = (",", "\t", ";", "|")
NUM_SEEN_RECORDS = 50
MAX_FIELD = 32 * 2**20
CHUNK = 2**20
# Above this share of bytes beyond ASCII, a file that is not UTF-8 is in a script that latin-1 does not have.
MAX_LATIN_SHARE = 0.2

Encoding = Literal["utf-8", "utf-16", "latin-1"]
READ_AS: dict[Encoding, str] = {"utf-8": "utf-8-sig", "utf-16": "utf-16", "latin-1": "latin-1"}


def find(data: Path) -> Path:
    """Return the file as an absolute path; SourceError where there is none, or nothing is in it."""
    if not data.exists():
        near = [p.name for p in data.parent.iterdir()] if data.parent.is_dir() else []
        raise SourceError(f"{data} is missing{did_you_mean(data.name, near)}")
    if not data.is_file():
        raise SourceError(f"{data} is not a file; give one csv, tsv, jsonl or parquet file")
    if data.stat().st_size == 0:
        raise SourceError(f"{data} is empty; it needs rows with a text and a label")
    return data.absolute()  # a link stays one: next week it may lead to another file


def format_of(path: Path, wanted: tuple[str, str]) -> CsvFormat | PlainFormat:
    """Return the format of a file that has the columns `wanted`: by its ending, and for delimited
    text by its first records."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    suffix = next(iter(suffixes[-2:-1] if suffixes[-1:] == [".gz"] else suffixes[-1:]), "")
    if suffix in PLAIN:
        check_no_array(path, PLAIN[suffix])
        return PlainFormat(type=PLAIN[suffix])
    if suffix not in DELIMITED:
        allowed = ", ".join([*DELIMITED, *PLAIN])
        raise SourceError(f"{path.name} has the ending '{suffix}'; it must be one of {allowed}, with or without .gz")
    encoding = encoding_of(path)
    delimiter, records = delimiter_of(path, encoding, DELIMITED[suffix], wanted)
    numbered = tuple(f"column{number}" for number in range(len(records[0])))
    has_header = set(wanted) <= set(records[0]) or not set(wanted) <= set(numbered)
    return CsvFormat(
        type="csv", delimiter=delimiter, quote='"', header=has_header, columns=None if has_header else numbered,
        encoding=encoding,
    )  # fmt: skip


def check_no_array(path: Path, form: str) -> None:
    """Raise SourceError where a file of JSON is one array, and so does not hold one object a line."""
    if form == "jsonl":
        with opened(path) as file:
            if file.read(CHUNK).removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"["):
                is_packed, name = path.suffix == ".gz", shlex.quote(path.name)
                lines = shlex.quote(f"{path.name.partition('.')[0]}_lines.jsonl")
                command = f"gzip -dc {name} | jq -c '.[]' > {lines}" if is_packed else f"jq -c '.[]' {name} > {lines}"
                raise SourceError(
                    f"{path.name} begins with '[', as one JSON array does; one object a line is wanted: {command}"
                )


def delimiter_of(path: Path, encoding: Encoding, usual: str, wanted: tuple[str, str]) -> tuple[str, list[list[str]]]:
    """Return the delimiter, and the first records read with it.

    It is the one whose first record names both columns; where none does, the one that gives most records one width.
    """
    tried: list[tuple[tuple[bool, int, bool], str, list[list[str]]]] = []
    for delimiter in DELIMITERS:
        records = first_records(path, encoding, delimiter)
        if not records:
            continue
        width = len(records[0])
        same = sum(len(record) == width for record in records) if width > 1 else 0
        tried.append(((set(wanted) <= set(records[0]), same, delimiter == usual), delimiter, records))
    if not tried:
        raise SourceError(f"{path} holds no rows")
    (names_both, same, _), delimiter, records = max(tried, key=lambda option: option[0])
    if not names_both and same == 0:
        raise SourceError(f"{path} has one column only, {examples(records[0])}; it needs a text and a label")
    return delimiter, records


def first_records(path: Path, encoding: Encoding, delimiter: str) -> list[list[str]]:
    """Return the first records that are not blank, up to the first that cannot be read."""
    records: list[list[str]] = []
    limit = csv.field_size_limit(MAX_FIELD)
    try:
        with opened(path) as raw, TextIOWrapper(raw, READ_AS[encoding], errors="replace", newline="") as stream:
            reader = csv.reader(stream, delimiter=delimiter)
            records.extend(itertools.islice((record for record in reader if record), NUM_SEEN_RECORDS))
    except csv.Error:
        pass
    finally:
        csv.field_size_limit(limit)
    return records


def encoding_of(path: Path) -> Encoding:
    """Return utf-8, utf-16 (by its mark), or latin-1 for Western text; SourceError for other
    scripts in other encodings."""
    with opened(path) as file:
        if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            return "utf-16"
    decoder, position = codecs.getincrementaldecoder("utf-8")(), 0
    with opened(path) as file:
        try:
            while chunk := file.read(CHUNK):
                decoder.decode(chunk)
                position += len(chunk)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError as error:
            return western(path, position, error)
    return "utf-8"


def western(path: Path, position: int, error: UnicodeDecodeError) -> Encoding:
    """Return latin-1 if the bytes look like Western text; SourceError otherwise."""
    with opened(path) as file:
        seen = file.read(CHUNK)
    high = sum(byte >= 0x80 for byte in seen) / len(seen)
    if b"\0" in seen or high > MAX_LATIN_SHARE:
        what = "is not text" if b"\0" in seen else "is text in an encoding that cannot be told"
        raise SourceError(
            f"{path} is not UTF-8 (byte 0x{error.object[error.start]:02x} near position {position + error.start}) and "
            f"{what}; convert it, for example: iconv -f GB18030 -t UTF-8"
        )
    return "latin-1"
