"""Local files: one file, or those of a folder that match a pattern."""

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
    if path.exists():
        return path
    near = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    hint = did_you_mean(path.name, near)
    raise SourceError(f"{source.path} is missing{hint}; a relative path is relative to the project's folder, {root}")


def matching(folder: Path, pattern: str) -> tuple[Path, ...]:
    """Return the files below `folder` that a glob matches, sorted."""
    return tuple(sorted(p for p in folder.glob(pattern) if p.is_file()))


def checked(source: FileSource, paths: tuple[Path, ...], *, top: Path) -> Fetched:
    seen = digest_of(paths, top=top)
    if source.sha256 not in (None, seen):
        raise SourceError(
            f"{source.path} has sha256 {seen}, but the recipe expects {source.sha256}; "
            "if you trust the file as it is now, put its sha256 into the recipe"
        )
    return Fetched(paths, top, seen, is_many=source.pattern is not None)
