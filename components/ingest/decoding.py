"""Text files of any encoding as UTF-8, which is what DuckDB reads without a fault.

Bytes that are not in the encoding become MARK, so that the rows that hold them can be set apart: one stray byte is no
reason to read a whole file in another encoding, or not at all.
"""

import codecs
from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path

from components.ingest.files import BadRow, opened, without_packing
from components.sources import Fetched

MARK = "\U0010ffff"
"""The character that stands for bytes that are not in the encoding; Unicode assigns it to nothing."""
NUM_KEPT = 100
CHUNK_BYTES = 2**20
MAX_SHOWN = 200
WITHOUT_MARK = {"utf-8": "utf-8-sig"}
"""The codec that leaves out the byte order mark at the beginning, by the name of the encoding."""


@dataclass(frozen=True)
class Decoded:
    """Files in UTF-8, and the first lines that hold bytes of no character."""

    fetched: Fetched
    bad: tuple[BadRow, ...]


def codec_of(encoding: str) -> str:
    """Return the name of Python's codec for an encoding, the one that leaves out a byte order mark; LookupError where
    there is none, or it is none of text."""
    info = codecs.lookup(encoding)
    "".encode(encoding)  # LookupError for those of bytes, as base64
    return WITHOUT_MARK.get(info.name, info.name)


def is_utf_8(encoding: str) -> bool:
    """Return whether an encoding is UTF-8, by whatever name."""
    return codecs.lookup(encoding).name in ("utf-8", "utf-8-sig")


def decode(fetched: Fetched, encoding: str, folder: Path) -> Decoded:
    """Write the files as UTF-8 below `folder`, where they lie as they did below the source's own."""
    bad: list[BadRow] = []
    paths: list[Path] = []
    for path in fetched.paths:
        name = path.relative_to(fetched.top)
        target = folder / without_packing(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("w", encoding="utf-8", newline="") as file:
            for text in chunks_of(path, encoding, bad, name=name.as_posix()):
                file.write(text)
        paths.append(target)
    return Decoded(replace(fetched, paths=tuple(paths), top=folder), tuple(bad[:NUM_KEPT]))


def chunks_of(path: Path, encoding: str, bad: list[BadRow], *, name: str) -> Generator[str]:
    """Yield the text of a file, chunk by chunk, and note each line with MARK in `bad`, NUM_KEPT at most."""
    decoder = codecs.getincrementaldecoder(codec_of(encoding))(errors=MARKED)
    number, line = 1, ""
    with opened(path) as file:
        is_last = False
        while not is_last:
            read = file.read(CHUNK_BYTES)
            is_last = not read
            text = decoder.decode(read, final=is_last)
            yield text
            *whole, line = (line + text).split("\n")
            for one in [*whole, line] if is_last else whole:
                if MARK in one and len(bad) < NUM_KEPT:
                    shown = one.replace(MARK, "\N{REPLACEMENT CHARACTER}").rstrip("\r")[:MAX_SHOWN]
                    bad.append(BadRow(name, number, f"not {encoding.upper()}", shown))
                number += 1


def marked(error: UnicodeError) -> tuple[str, int]:
    """Stand MARK for the bytes that a decoder cannot read."""
    assert isinstance(error, UnicodeDecodeError)
    return MARK, error.end


MARKED = "modelyard-marked"
codecs.register_error(MARKED, marked)
