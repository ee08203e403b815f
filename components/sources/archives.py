"""The unpacking of named members from archives (zip, whl, tar, tar.gz, tgz), and from archives inside archives.

Only the members that the recipe names are unpacked. An archive in which any member would lie outside its folder is
refused whole.
"""

import fnmatch
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from components.plumbing.artifacts import disk_errors
from components.plumbing.errors import SourceError, did_you_mean, examples
from components.sources.fetched import Fetched

MAX_UNPACKED_BYTES = 16 * 2**30
BLOCK_BYTES = 1 << 20
MAX_NAME_BYTES = 255
MAX_PATH_BYTES = 2048


@dataclass(frozen=True)
class Member:
    """One entry of an archive that is not a folder."""

    name: str
    is_file: bool
    """True for a regular file, False for a link or a device."""
    open: Callable[[], IO[bytes]]


def members(
    archive: Path, way: tuple[str, ...], *, folder: Path, sha256: str, max_bytes: int = MAX_UNPACKED_BYTES
) -> Fetched:
    """Follow `way` (see `RegistrySource.member`) into `archive`, unpacking into `folder`.

    An empty `way` stands for the archive itself. Raises SourceError where a member is missing, is not a plain file,
    points outside its folder, or where all of them together are larger than `max_bytes`.
    """
    if not way:
        return Fetched((archive,), archive.parent, sha256, is_many=False)
    for position, step in enumerate(way[:-1]):
        inner = unpack(archive, step, folder / f"inner-{position}", max_bytes)
        if len(inner) != 1:
            raise SourceError(f"{archive.name} has {len(inner)} members like '{step}'; name the one to go on with")
        archive = inner[0]
    last, top = way[-1], folder / "members"
    paths = unpack(archive, last, top, max_bytes)
    if last.endswith("/"):
        top = top / last
    is_many = len(paths) > 1 or last.endswith("/") or is_glob(last)
    return Fetched(tuple(paths), top if is_many else paths[0].parent, sha256, is_many=is_many)


def unpack(archive: Path, pattern: str, folder: Path, max_bytes: int) -> list[Path]:
    """Write the members that `pattern` names below `folder`; return their paths, sorted."""
    shutil.rmtree(folder, ignore_errors=True)
    with opened(archive) as found:
        outside = [member.name for member in found if not lies_inside(member.name)]
        if outside:
            raise SourceError(
                f"{archive.name} holds {examples(outside)}, which points outside its folder; nothing of it was unpacked"
            )
        wanted = [member for member in found if names(pattern, member.name)]
        special = [member.name for member in wanted if not member.is_file]
        if special:
            raise SourceError(
                f"{archive.name}: {examples(special)} is a link or a device, not a file; it was not unpacked"
            )
        if not wanted:
            there = [member.name for member in found]
            hint = did_you_mean(pattern, there)
            raise SourceError(f"{archive.name} has no member '{pattern}'{hint}; it has {examples(there) or 'none'}")
        check_names(archive, {member.name for member in wanted})
        left = max_bytes
        for member in wanted:
            left -= copy(member, folder / member.name, left, archive, max_bytes)
    return sorted(folder / name for name in {member.name for member in wanted})


def check_names(archive: Path, wanted: set[str]) -> None:
    """Raise SourceError where members cannot lie in folders as they are called."""
    folders = {str(folder) for name in wanted for folder in PurePosixPath(name).parents}
    both = sorted(name for name in wanted if str(PurePosixPath(name)) in folders)
    if both:
        raise SourceError(
            f"{archive.name} has a file and a folder of one name, {examples(both)}; name the members that are wanted, "
            "one by one"
        )
    long = [
        name
        for name in wanted
        if len(name.encode("utf-8", "replace")) > MAX_PATH_BYTES
        or any(len(part.encode("utf-8", "replace")) > MAX_NAME_BYTES for part in name.split("/"))
    ]
    if long:
        raise SourceError(
            f"{archive.name} has {examples(sorted(long))}, whose name is longer than disks allow ({MAX_NAME_BYTES} "
            f"bytes, {MAX_PATH_BYTES} with its folders); pack it anew under another name, or take other members"
        )


def names(pattern: str, member: str) -> bool:
    """Return whether a pattern names a member; a pattern is a path, a glob whose * stays inside one folder, or a folder
    with a slash at its end."""
    if pattern.endswith("/"):
        return member.startswith(pattern)
    if not is_glob(pattern):
        return member == pattern
    parts, wanted = member.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(map(fnmatch.fnmatchcase, parts, wanted))


def is_glob(pattern: str) -> bool:
    return any(character in pattern for character in "*?[")


def lies_inside(name: str) -> bool:
    path = PurePosixPath(name.replace("\\", "/"))
    return not path.is_absolute() and ".." not in path.parts and "\0" not in name


def copy(member: Member, path: Path, max_left: int, archive: Path, max_bytes: int) -> int:
    """Write one member in blocks and return its size in bytes; raise SourceError where it exceeds `max_left`, whatever
    its header says."""
    size = 0
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with member.open() as source, path.open("wb") as target:
            while block := source.read(BLOCK_BYTES):
                size += len(block)
                if size > max_left:
                    raise SourceError(
                        f"{archive.name} unpacks to more than {max_bytes} bytes at '{member.name}'; "
                        "take fewer members, or unpack it yourself and use a 'file' source"
                    )
                target.write(block)
    return size


@contextmanager
def opened(archive: Path) -> Generator[list[Member]]:
    """Open a zip or a tar, told apart by the first bytes, and yield its members; raise SourceError where it is neither,
    or broken."""
    try:
        with archive.open("rb") as file:
            is_zip = file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")
        with members_of_zip(archive) if is_zip else members_of_tar(archive) as found:
            yield found
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError, RuntimeError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise SourceError(f"{archive.name} is not a whole zip or tar archive: {error}") from error


@contextmanager
def members_of_zip(archive: Path) -> Generator[list[Member]]:
    with zipfile.ZipFile(archive) as opened_zip:
        yield [
            Member(info.filename, is_plain(info), lambda info=info: opened_zip.open(info))
            for info in opened_zip.infolist()
            if not info.is_dir()
        ]


def is_plain(info: zipfile.ZipInfo) -> bool:
    """Return whether the file type in the Unix mode, where there is one, is that of a regular file."""
    return (info.external_attr >> 28) in (0, 0o10)


@contextmanager
def members_of_tar(archive: Path) -> Generator[list[Member]]:
    with tarfile.open(archive, "r:*") as opened_tar:
        yield [
            Member(info.name, info.isreg(), lambda info=info: reader(opened_tar, info))
            for info in opened_tar
            if not info.isdir()
        ]


def reader(opened_tar: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    file = opened_tar.extractfile(info)
    assert file is not None, "only regular files are read"
    return file
