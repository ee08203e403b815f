"""The files of a source: how they are opened, and a row of one that cannot be read."""

import bz2
import gzip
import io
import lzma
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from components.plumbing.errors import SourceError


@dataclass(frozen=True)
class BadRow:
    file: str
    row: int
    """The row's number in the file, counted from 1; the header counts too."""
    reason: str
    text: str


def open_zstd(path: Path) -> BinaryIO:
    import pyarrow as pa

    return cast("BinaryIO", io.BufferedReader(pa.input_stream(str(path), compression="zstd")))  # pyright: ignore[reportArgumentType]


PACKED: dict[bytes, tuple[str, Callable[[Path], BinaryIO]]] = {
    b"\x1f\x8b": ("gzip", lambda path: cast("BinaryIO", gzip.open(path))),
    b"BZh": ("bzip2", lambda path: cast("BinaryIO", bz2.open(path))),
    b"\xfd7zXZ\0": ("xz", lambda path: cast("BinaryIO", lzma.open(path))),
    b"\x28\xb5\x2f\xfd": ("zstd", open_zstd),
}
"""The ways in which a file may be compressed, by its first bytes, whatever it is called."""
ENDINGS = (".gz", ".bz2", ".xz", ".zst", ".zstd")
"""How the names of compressed files end."""


def packing_of(path: Path) -> str | None:
    """Return how a file is compressed, by its first bytes; None where it is not."""
    with path.open("rb") as file:
        seen = file.read(8)
    return next((name for mark, (name, _) in PACKED.items() if seen.startswith(mark)), None)


def without_packing(path: Path) -> Path:
    """Return the name of a file without the ending that says that it is compressed."""
    return path.with_suffix("") if path.suffix.lower() in ENDINGS else path


@contextmanager
def opened(path: Path) -> Generator[BinaryIO]:
    """Open a file for reading bytes, unpacked where it is compressed; raise SourceError where that is not whole."""
    with path.open("rb") as file:
        seen = file.read(8)
    name, unpack = next((way for mark, way in PACKED.items() if seen.startswith(mark)), ("", None))
    if unpack is None:
        with path.open("rb") as file:
            yield file
        return
    try:
        with unpack(path) as file:
            yield file
    except (OSError, EOFError, lzma.LZMAError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise SourceError(f"{path.name} is not a whole {name} file ({error}); download or pack it again") from error
