"""One file behind an http(s) address, streamed, bounded in size, and checked before it is used."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from components.params import UrlSource
from components.plumbing.errors import SourceError, UnreachableError
from components.sources import archives
from components.sources.downloads import cached
from components.sources.fetched import Fetched

TIMEOUT_S = 60.0
BLOCK_BYTES = 1 << 20


def fetch(source: UrlSource, *, root: Path, folder: Path) -> Fetched:
    """Return the file, or its named members where it is an archive."""
    what = named(source.url)
    path = cached(source.sha256, root=root, what=what, download=lambda into: download(source, into))
    return archives.members(path, source.member, folder=folder, sha256=source.sha256)


def named(url: str) -> str:
    """Return the address without parts that may be secret: user, password and query."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}{parts.path}"


def download(source: UrlSource, folder: Path) -> Path:
    """Stream the file into `folder`; raise SourceError where it grows past `max_bytes` or the server refuses it.

    Raises UnreachableError where the server fails or cannot be reached.
    """
    import httpx

    what = named(source.url)
    path = folder / (Path(unquote(urlsplit(source.url).path)).name or "download")
    size = 0
    try:
        with (
            httpx.stream("GET", source.url, follow_redirects=True, timeout=TIMEOUT_S) as answer,
            path.open("wb") as file,
        ):
            if answer.is_error:
                kind = UnreachableError if answer.is_server_error else SourceError
                raise kind(f"{what} answered {answer.status_code} {answer.reason_phrase}")
            for block in answer.iter_bytes(BLOCK_BYTES):
                size += len(block)
                if size > source.max_bytes:
                    raise SourceError(
                        f"{what} is larger than max_bytes ({source.max_bytes}); raise it if that is right"
                    )
                file.write(block)
    except httpx.HTTPError as error:
        raise UnreachableError(f"{what} could not be fetched: {type(error).__name__}") from None
    return path
