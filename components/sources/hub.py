"""The files of a Hugging Face repository at one commit, or of a local folder laid out as a hub snapshot."""

import hashlib
from pathlib import Path

from components.params import HubSource
from components.plumbing.artifacts import sha256_of
from components.plumbing.errors import SourceError, UnreachableError, examples
from components.sources.fetched import Fetched, digest_of
from components.sources.files import matching

SHA256_LENGTH = 64


def fetch(source: HubSource, *, root: Path, folder: Path) -> Fetched:
    """Return the files that the pattern matches, in the order of their paths.

    Raises SourceError where none matches or a file is damaged, and UnreachableError where the hub cannot be reached.
    """
    del folder  # the hub's own cache holds the files
    is_local = source.repo.startswith(("./", "../", "/"))
    top = local_snapshot(source, root) if is_local else download(source, root)
    paths = matching(top, source.pattern)
    if not paths:
        there = [path.relative_to(top).as_posix() for path in matching(top, "**/*")]
        raise SourceError(
            f"no file of {source.repo} matches '{source.pattern}'; it holds {examples(there) or 'nothing'}"
        )
    for path in paths:
        check_blob(path)
    return Fetched(paths, top, digest_of(paths, top=top), is_many=True)


def local_snapshot(source: HubSource, root: Path) -> Path:
    """Return the folder, or its `snapshots/<revision>` where it is laid out as the hub's cache; raise SourceError where
    it is missing."""
    folder = root / source.repo
    if not folder.is_dir():
        raise SourceError(f"{source.repo} is not a folder; a relative path is relative to the project's folder, {root}")
    if not (folder / "snapshots").is_dir():
        return folder
    snapshot = folder / "snapshots" / source.revision
    if not snapshot.is_dir():
        there = sorted(path.name for path in (folder / "snapshots").iterdir())
        raise SourceError(f"{source.repo} has no snapshot of revision {source.revision}; it has {examples(there)}")
    return snapshot


def download(source: HubSource, root: Path) -> Path:
    """Download the snapshot into the project's own cache of the hub; raise UnreachableError where that fails."""
    from huggingface_hub import snapshot_download

    try:
        snapshot = snapshot_download(
            source.repo,
            repo_type=source.repo_type,
            revision=source.revision,
            allow_patterns=source.pattern,
            cache_dir=root / ".modelyard" / "hub",
        )
    except Exception as error:  # the hub's client lets errors of several libraries through
        said = " ".join(str(error).split())[:300]
        raise UnreachableError(
            f"hub {source.repo_type} {source.repo} at {source.revision[:12]} could not be fetched: "
            f"{type(error).__name__}: {said}"
        ) from error
    return Path(snapshot)


def check_blob(path: Path) -> None:
    """Raise SourceError where a file of the hub's cache does not match the digest that names its blob."""
    blob = path.resolve()
    if not path.is_symlink() or blob.parent.name != "blobs":
        return
    seen = sha256_of(blob) if len(blob.name) == SHA256_LENGTH else git_sha1_of(blob)
    if seen != blob.name:
        raise SourceError(f"{path} has digest {seen}, but the hub's is {blob.name}; delete {blob} and run again")


def git_sha1_of(path: Path) -> str:
    """Return the digest by which git names a file's content."""
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
