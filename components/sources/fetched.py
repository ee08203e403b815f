"""The result of fetching a source, and the digest that stands for its bytes."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from components.plumbing.artifacts import sha256_of


@dataclass(frozen=True)
class Fetched:
    """The files of a source, on this machine."""

    paths: tuple[Path, ...]
    """The files in a fixed order, never empty."""
    top: Path
    """The folder that contains all the files."""
    sha256: str
    """The sha256 of the archive or the one file; for several files, see `digest_of`."""
    is_many: bool
    """True where the source names a set of files (a pattern or a folder), False where it names one file."""


def digest_of(paths: Iterable[Path], *, top: Path) -> str:
    """Return the sha256 of one file, or, for several, of the lines `<sha256> <path below top>`, as sha256sum prints
    them."""
    digests = {path.relative_to(top).as_posix(): sha256_of(path) for path in paths}
    if len(digests) == 1:
        return next(iter(digests.values()))
    lines = "".join(f"{sha256}  {name}\n" for name, sha256 in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()
