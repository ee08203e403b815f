"""The sources of rows and encoders: fetching what a recipe names, and returning paths on this machine.

`fetch` is for rows, `fetch_folder` for a folder that is used whole (an encoder). Archives are kept in
`.modelyard/downloads/<sha256>/` of the project and hashed again before each use. Members of an archive, and the rows
that a database or a generator gives, go into the caller's `folder`, which the caller removes.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from components.params import DataSource, FileSource, FolderSource, HubSource
from components.plumbing.errors import SourceError
from components.sources import database, files, generator, hub, registries, web
from components.sources.fetched import Fetched

__all__ = ["Fetched", "fetch", "fetch_folder"]

FETCHERS: dict[str, Callable[..., Fetched]] = {
    "file": files.fetch,
    "pypi": registries.fetch,
    "npm": registries.fetch,
    "url": web.fetch,
    "hub": hub.fetch,
    "sql": database.fetch,
    "generator": generator.fetch,
}


def fetch(source: DataSource, *, root: Path, folder: Path) -> Fetched:
    """Return the files of a source; raise SourceError where they are missing or differ from what the recipe says.

    `root` is the project's folder, and `folder` the caller's place for unpacked files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return FETCHERS[source.kind](source, root=root, folder=folder)


def fetch_folder(source: FolderSource, *, root: Path, folder: Path) -> Path:
    """Return the folder that a source names, on this machine; raise SourceError where its bytes are not as the source
    says."""
    if isinstance(source, FileSource):
        return files.fetch_folder(source, root=root)
    if isinstance(source, HubSource):
        return hub.fetch(source, root=root, folder=folder).top
    if not source.member or not source.member[-1].endswith("/"):
        raise SourceError(f"the last member is {shown(source.member)}; a folder is needed, with '/' at its end")
    return fetch(source, root=root, folder=folder).top


def shown(member: tuple[str, ...]) -> Any:
    return f"'{member[-1]}'" if member else "not given"
