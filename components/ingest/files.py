"""The files of a source: how they are opened, and a row of one that cannot be read."""

import gzip
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from components.plumbing.errors import SourceError


@dataclass(frozen=True)
class BadRow:
    file: str
    row: int
    """The row's number in the file, counted from 1; the header counts too."""
    reason: str
    text: str


@contextmanager
def opened(path: Path) -> Generator[BinaryIO | gzip.GzipFile]:
    """Open a file for reading bytes, unpacked where its name ends in .gz, as DuckDB does; raise SourceError where that
    is not whole."""
    try:
        unpacked: BinaryIO | gzip.GzipFile = gzip.open(path) if path.suffix == ".gz" else path.open("rb")
        with unpacked as file:
            yield file
    except (gzip.BadGzipFile, EOFError) as error:
        raise SourceError(f"{path.name} is not a whole gzip file: {error}") from error
