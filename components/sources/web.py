"""One file behind an http(s) address, streamed, bounded in size, and checked before it is used.

A server may send its asker elsewhere, but not to another kind of address, and not from outside into this network: what
an address of the recipe names is not to reach what only this machine can.
"""

import ipaddress
import socket
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from components.params import UrlSource
from components.plumbing.errors import SourceError, UnreachableError
from components.sources import archives
from components.sources.downloads import cached
from components.sources.fetched import Fetched

if TYPE_CHECKING:
    import httpx

TIMEOUT_S = 60.0
MAX_REDIRECTS = 10
MAX_NAME_BYTES = 200
BLOCK_BYTES = 1 << 20


def fetch(source: UrlSource, *, root: Path, folder: Path) -> Fetched:
    """Return the file, or its named members where it is an archive; raise SourceError where the address is none."""
    try:
        what = named(source.url)
    except ValueError as error:
        raise SourceError(f"ingest.source.url is no address: {error}") from error
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
    path = folder / file_name(source.url)
    size = 0
    try:
        with answer_of(source.url) as answer, path.open("wb") as file:
            if not answer.is_success:
                kind = UnreachableError if answer.is_server_error else SourceError
                raise kind(f"{what} answered {answer.status_code} {answer.reason_phrase}")
            for block in answer.iter_bytes(BLOCK_BYTES):
                size += len(block)
                if size > source.max_bytes:
                    raise SourceError(
                        f"{what} is larger than max_bytes ({source.max_bytes}); raise it if that is right"
                    )
                file.write(block)
    except (httpx.InvalidURL, ValueError) as error:
        raise SourceError(f"{what} is no address, or leads to none: {error}") from None
    except httpx.HTTPError as error:
        raise UnreachableError(f"{what} could not be fetched: {type(error).__name__}") from None
    return path


def file_name(url: str) -> str:
    """Return the name that the file of an address gets: the last part of its path, where a file can be called so."""
    name = Path(unquote(urlsplit(url).path)).name
    can_be = name.isprintable() and name not in ("", "..") and len(name.encode("utf-8", "replace")) <= MAX_NAME_BYTES
    return name if can_be else "download"


@contextmanager
def answer_of(url: str) -> "Generator[httpx.Response]":
    """Ask an address and those that it leads to; raise SourceError where one of these may not be asked."""
    import httpx

    with httpx.Client(timeout=TIMEOUT_S) as client:
        request = client.build_request("GET", url)
        for _ in range(MAX_REDIRECTS + 1):
            answer = client.send(request, stream=True)
            try:
                if answer.next_request is None:
                    yield answer
                    return
                request = answer.next_request
            finally:
                answer.close()
            check_redirect(url, str(request.url))
    raise SourceError(f"{named(url)} leads from one address to another, more than {MAX_REDIRECTS} times")


def check_redirect(url: str, target: str) -> None:
    """Raise SourceError where an address leads to one that is not http(s), or into this network from outside."""
    parts = urlsplit(target)
    if parts.scheme not in ("http", "https"):
        raise SourceError(f"{named(url)} leads to an address of the kind '{parts.scheme}:', which is not followed")
    if is_inside(parts.hostname or "") and not is_inside(urlsplit(url).hostname or ""):
        raise SourceError(
            f"{named(url)} leads to {parts.hostname}, within this machine's own network, which is not followed; name "
            "that address itself if it is meant"
        )


def is_inside(host: str) -> bool:
    """Return whether a host is this machine, or one of a network that the internet does not reach."""
    try:
        found = {entry[4][0] for entry in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):
        return False  # behind a proxy, which alone knows names
    return any(not ipaddress.ip_address(str(address).partition("%")[0]).is_global for address in found)
