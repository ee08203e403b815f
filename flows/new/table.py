"""The layout of a user's file: its format, encoding, delimiter, quoting and header."""

import codecs
import csv
import itertools
import re
import shlex
from io import TextIOWrapper
from pathlib import Path
from typing import Literal

from components.ingest.decoding import codec_of
from components.ingest.files import opened, without_packing
from components.ingest.kinds import check_kind, first_bytes, is_json, is_parquet
from components.params import CsvFormat, PlainFormat
from components.plumbing.errors import SourceError, did_you_mean, examples
from components.sources.files import check_plain

DELIMITED = {".tsv": "\t", ".tab": "\t", ".txt": "\t", ".psv": "|"}
"""The usual delimiter of a file by its ending; of others it is the comma."""
PLAIN: dict[str, Literal["jsonl", "parquet"]] = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".parquet": "parquet", ".pq": "parquet",
}  # fmt: skip
"""The format of a file that does not tell it, by its ending, unless it has a line that names the columns."""
DELIMITERS = (",", "\t", ";", "|")
NUM_SEEN_RECORDS = 50
MAX_PREAMBLE_LINES = 50
SEPARATOR = re.compile('"?sep=(.)"?', re.IGNORECASE)
"""The line with which Excel is told the delimiter."""
MAX_FIELD = 32 * 2**20
CHUNK = 2**20
# Above this share of bytes beyond ASCII, a file that is not UTF-8 is in a script that Western encodings do not have.
MAX_LATIN_SHARE = 0.2

MAX_ASKED_BYTES = 64 * 2**10
ICONV = {"big5hkscs": "big5-hkscs", "mac_cyrillic": "maccyrillic", "euc_jis_2004": "euc-jp"}
"""The names of encodings that iconv calls otherwise than Python does."""

MARKS = (
    (codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
"""The byte order marks, the longer ones first, with the encodings that they stand for."""
ZEROS = {
    "utf-16-le": (False, True, False, True),
    "utf-16-be": (True, False, True, False),
    "utf-32-le": (False, True, True, True),
    "utf-32-be": (True, True, True, False),
}
"""Which of four bytes in a row are zero in most of the text of an encoding, where it is Western."""
MIN_CHARACTERS_A_STRAY_BYTE = 10
WESTERN = ("windows-1252", "mac-roman", "latin-1")
USUAL = frozenset("ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜßàáâãäåæçèéêëìíîïñòóôõöøùúûüÿœŒ„“”«»—…€£°§·¿¡•\u00a0\u2018\u2019\u2013")
"""The letters and signs that Western text has beyond ASCII."""


def find(data: Path) -> Path:
    """Return the file as an absolute path; SourceError where there is none, or nothing is in it."""
    check_plain(data, str(data))
    if not data.exists():
        near = [p.name for p in data.parent.iterdir()] if data.parent.is_dir() else []
        raise SourceError(f"{data} is missing{did_you_mean(data.name, near)}")
    if not data.is_file():
        raise SourceError(f"{data} is not a file; give one csv, tsv, jsonl or parquet file")
    if data.stat().st_size == 0:
        raise SourceError(f"{data} is empty; it needs rows with a text and a label")
    return data.absolute()  # a link stays one: next week it may lead to another file


def format_of(path: Path, wanted: tuple[str, str], *, encoding: str | None = None) -> CsvFormat | PlainFormat:
    """Return the format of a file that has the columns `wanted`, by what it holds; SourceError where that is no
    table. Its ending only tells which delimiter is the likelier; the encoding is found by its bytes, unless it is
    given."""
    suffix = without_packing(path).suffix.lower()
    seen = first_bytes(path)
    check_kind(path, seen)
    if is_parquet(seen):
        check_delimited(path, encoding)
        return PlainFormat(type="parquet")
    wide = next((name for mark, name in MARKS if name != "utf-8" and seen.startswith(mark)), None)
    text = seen.decode(wide, "ignore").encode() if wide else seen
    if is_json(text):
        check_delimited(path, encoding)
        return PlainFormat(type="jsonl")
    encoding = encoding or encoding_of(path)
    if suffix in PLAIN and not names_columns(path, encoding, wanted):
        return PlainFormat(type=PLAIN[suffix])
    skip, told = preamble_of(path, encoding, wanted)
    usual = DELIMITED.get(suffix, ",")
    delimiter, records = delimiter_of(path, encoding, told or usual, wanted, skip=skip, told=told)
    numbered = tuple(f"column{number}" for number in range(len(records[0])))
    has_header = set(wanted) <= set(records[0]) or not set(wanted) <= set(numbered)
    return CsvFormat(
        type="csv", delimiter=delimiter, quote='"', header=has_header, columns=None if has_header else numbered,
        encoding=encoding, skip=skip,
    )  # fmt: skip


def check_delimited(path: Path, encoding: str | None) -> None:
    """Raise SourceError where an encoding is given for a file that has its own."""
    if encoding is not None:
        raise SourceError(f"--encoding is for delimited text; {path.name} is JSON or Parquet, which says its own")


def names_columns(path: Path, encoding: str, wanted: tuple[str, str]) -> bool:
    """Return whether a line at the beginning of a file names both columns, as the header of delimited text does."""
    return any(is_header(line, delimiter, wanted) for line in first_lines(path, encoding) for delimiter in DELIMITERS)


def is_header(line: str, delimiter: str, wanted: tuple[str, str]) -> bool:
    return set(wanted) <= set(next(csv.reader([line], delimiter=delimiter), []))


def first_lines(path: Path, encoding: str) -> list[str]:
    with opened(path) as raw, TextIOWrapper(raw, codec_of(encoding), errors="replace", newline="") as stream:
        return [line.strip() for line in itertools.islice(stream, MAX_PREAMBLE_LINES)]


def preamble_of(path: Path, encoding: str, wanted: tuple[str, str]) -> tuple[int, str | None]:
    """Return how many lines stand above the header, and the delimiter where a line `sep=;` names it, as Excel reads it.

    The header is the first line that names both columns; where none does, blank lines alone are no part of the table.
    """
    lines = first_lines(path, encoding)
    if lines and (said := SEPARATOR.fullmatch(lines[0])):
        return 1, said[1]
    for number, line in enumerate(lines):
        for delimiter in DELIMITERS:
            if is_header(line, delimiter, wanted):
                return number, None
    return len(list(itertools.takewhile(lambda line: not line, lines))), None


def delimiter_of(
    path: Path, encoding: str, usual: str, wanted: tuple[str, str], *, skip: int, told: str | None
) -> tuple[str, list[list[str]]]:
    """Return the delimiter, and the first records read with it below the `skip` lines that are no part of the table.

    It is the one that the file has told; else the one whose first record names both columns; where none does, the one
    that gives most records one width.
    """
    tried: list[tuple[tuple[bool, int, bool], str, list[list[str]]]] = []
    for delimiter in (told,) if told else DELIMITERS:
        records = first_records(path, encoding, delimiter, skip=skip)
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


def first_records(path: Path, encoding: str, delimiter: str, *, skip: int) -> list[list[str]]:
    """Return the first records below the first `skip` lines that are not blank, up to the first that cannot be read."""
    records: list[list[str]] = []
    limit = csv.field_size_limit(MAX_FIELD)
    try:
        with opened(path) as raw, TextIOWrapper(raw, codec_of(encoding), errors="replace", newline="") as stream:
            reader = csv.reader(itertools.islice(stream, skip, None), delimiter=delimiter)
            records.extend(itertools.islice((record for record in reader if record), NUM_SEEN_RECORDS))
    except csv.Error:
        pass
    finally:
        csv.field_size_limit(limit)
    return records


def encoding_of(path: Path) -> str:
    """Return the encoding of a text file, by its mark or its bytes; SourceError where that cannot be told.

    A file that is UTF-8 but for a few bytes is UTF-8: the rows of those are bad ones.
    """
    with opened(path) as file:
        seen = file.read(CHUNK)
    for mark, name in MARKS:
        if seen.startswith(mark):
            return name
    if wide := wide_encoding(seen):
        return wide
    bad, position = 0, -1
    num_beyond = 0
    strict = codecs.getincrementaldecoder("utf-8")()
    decoder = codecs.getincrementaldecoder("utf-8")(errors="surrogateescape")
    with opened(path) as file:
        read = 0
        while chunk := file.read(CHUNK):
            text = decoder.decode(chunk)
            stray = [letter for letter in text if "\udc80" <= letter <= "\udcff"] if not text.isascii() else []
            if position < 0:
                try:
                    strict.decode(chunk)
                except UnicodeDecodeError as error:
                    position = read + error.start - (len(error.object) - len(chunk))
            bad += len(stray)
            num_beyond += len(text.encode("utf-8", "surrogateescape")) - len(text) if not text.isascii() else 0
            read += len(chunk)
    if bad * MIN_CHARACTERS_A_STRAY_BYTE <= num_beyond:
        return "utf-8"
    return western(path, seen, position)


def wide_encoding(seen: bytes) -> str | None:
    """Return utf-16 or utf-32 of one byte order for text without a mark, by where its zero bytes are; None for other
    text."""
    zeros = [seen[place::4].count(0) / max(len(seen[place::4]), 1) for place in range(4)]
    for name, expected in ZEROS.items():
        if all((share > 0.5) == is_zero for share, is_zero in zip(zeros, expected, strict=True)):
            return name
    return None


def likely_encoding(seen: bytes) -> str | None:
    """Return the likeliest encoding of a text by its letters, as iconv calls it; None where none fits."""
    from charset_normalizer import from_bytes  # for tenths of a second, and few files ask

    best = from_bytes(seen[:MAX_ASKED_BYTES]).best()
    return None if best is None else ICONV.get(best.encoding, best.encoding).replace("_", "-").upper()


def western(path: Path, seen: bytes, position: int) -> str:
    """Return the encoding of Western text that spells its letters best; SourceError where it is no such text."""
    high = bytes(byte for byte in seen if byte >= 0x80)
    if b"\0" in seen or len(high) > MAX_LATIN_SHARE * len(seen):
        where = f"{path} is not UTF-8 (from byte {position} on)"
        if b"\0" in seen:
            raise SourceError(f"{where} and is not text")
        if (name := likely_encoding(seen)) is None:
            raise SourceError(f"{where}, and is text in an encoding that cannot be told; convert it with iconv")
        raise SourceError(
            f"{where} and may be {name}; convert it, and see whether its letters are right: iconv -f {name} -t "
            f"UTF-8 {shlex.quote(path.name)} > {shlex.quote('utf8_' + path.name)}"
        )
    spelled = {name: sum(letter in USUAL for letter in high.decode(name, "replace")) for name in WESTERN}
    return max(WESTERN, key=lambda name: spelled[name])
