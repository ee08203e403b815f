"""Local files: one file, or those of a folder that match a pattern."""

import shlex
import stat
from collections.abc import Callable
from pathlib import Path

from components.params import FileSource
from components.plumbing.errors import SourceError, did_you_mean, examples
from components.sources.fetched import Fetched, digest_of


def fetch(source: FileSource, *, root: Path, folder: Path) -> Fetched:
    """Return the file, or the matching files of the folder in the order of their paths.

    Raises SourceError where they are missing, the pattern and the path do not fit, or the sha256 differs.
    """
    del folder  # nothing has to be unpacked
    path = find(source, root)
    if path.is_file():
        if source.pattern is not None:
            raise SourceError(f"{source.path} is a file, so pattern '{source.pattern}' has no effect; remove it")
        return checked(source, (path,), top=path.parent)
    if source.pattern is None:
        raise SourceError(f"{source.path} is a folder; say which of its files with 'pattern' (for example '*.csv')")
    paths = matching(path, source.pattern)
    if not paths:
        there = [p.name for p in sorted(path.iterdir())]
        raise SourceError(
            f"no file of {source.path} matches '{source.pattern}'; it holds {examples(there) or 'nothing'}"
        )
    return checked(source, paths, top=path)


def fetch_folder(source: FileSource, *, root: Path) -> Path:
    """Return the folder, which is used whole; raise SourceError where it is missing, empty or no folder, or differs
    from the recipe's settings."""
    path = find(source, root)
    if path.is_file():
        raise SourceError(f"{source.path} is a file; a folder is needed")
    if source.pattern is not None:
        raise SourceError(f"{source.path} is used whole, so pattern '{source.pattern}' has no effect; remove it")
    paths = matching(path, "**/*")
    if not paths:
        raise SourceError(f"{source.path} is empty")
    if source.sha256 is not None:
        checked(source, paths, top=path)
    return path


def find(source: FileSource, root: Path) -> Path:
    path = root / Path(source.path).expanduser()
    try:
        check_plain(path, source.path)
        if path.exists():
            return path
    except OSError as error:  # a name that is too long, a link to itself, a folder that may not be read
        raise SourceError(f"{source.path} cannot be read: {error.strerror}") from error
    near = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    hint = did_you_mean(path.name, near)
    raise SourceError(f"{source.path} is missing{hint}; a relative path is relative to the project's folder, {root}")


def check_plain(path: Path, shown: str) -> None:
    """Raise SourceError where a path is there and is neither a file nor a folder: a link that leads nowhere, or what
    could be read for ever."""
    if path.is_symlink() and not path.exists():
        target = str(path.readlink())
        way = f"git annex get {shlex.quote(path.name)}" if ANNEX in target else "bring that back, or name another file"
        raise SourceError(f"{shown} is a link to {target}, which is not there; {way}")
    if path.exists():
        mode = path.stat().st_mode
        odd = [name for is_odd, name in ODD if is_odd(mode)]
        if odd:
            raise SourceError(f"{shown} is {odd[0]}, which has no end; write what it gives into a file, and name that")


ANNEX = ".git/annex/"
"""A part of the links that git-annex puts in the place of files."""
ODD: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
"""What a path may be beside a file and a folder."""


def matching(folder: Path, pattern: str) -> tuple[Path, ...]:
    """Return the files below `folder` that a glob matches, sorted.

    Raises SourceError where the glob is none, or one of what it matches is neither a file nor a folder.
    """
    try:
        found = sorted(folder.glob(pattern))
    except (ValueError, NotImplementedError) as error:
        raise SourceError(f"pattern '{pattern}' is none of files below a folder: {error}") from error
    for path in found:
        check_plain(path, path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path))
    return tuple(path for path in found if path.is_file())


def checked(source: FileSource, paths: tuple[Path, ...], *, top: Path) -> Fetched:
    try:
        seen = digest_of(paths, top=top)
    except PermissionError as error:
        raise SourceError(f"{error.filename} may not be read by this user; chmod u+r lets its owner read it") from error
    if source.sha256 not in (None, seen):
        raise SourceError(
            f"{source.path} has sha256 {seen}, but the recipe expects {source.sha256}; "
            "if you trust the file as it is now, put its sha256 into the recipe"
        )
    return Fetched(paths, top, seen, is_many=source.pattern is not None)
