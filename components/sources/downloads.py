"""The project's cache of downloads: one folder per sha256, filled whole or not at all, and hashed before each use."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from components.plumbing.artifacts import disk_errors, sha256_of
from components.plumbing.errors import SourceError


def cached(sha256: str, *, root: Path, what: str, download: Callable[[Path], Path]) -> Path:
    """Return the file with this sha256, downloading it where the cache lacks it.

    `download(folder)` puts the file into an empty folder. A damaged file of the cache is downloaded again. Raises
    SourceError where the download has another sha256.
    """
    downloads = root / ".modelyard" / "downloads"
    kept = downloads / sha256
    for path in sorted(kept.glob("*")):
        if path.is_file() and sha256_of(path) == sha256:
            return path
    downloads.mkdir(parents=True, exist_ok=True)
    with disk_errors(kept), tempfile.TemporaryDirectory(dir=downloads, prefix=".partial-") as partial:
        path = download(Path(partial))
        seen = sha256_of(path)
        if seen != sha256:
            raise SourceError(
                f"{what}: {path.name} has sha256 {seen}, but the recipe expects {sha256}; "
                "it was not opened. If you trust it, put the new sha256 into the recipe"
            )
        whole = Path(partial) / "whole"
        whole.mkdir()
        path.rename(whole / path.name)
        shutil.rmtree(kept, ignore_errors=True)
        whole.rename(kept)
    return kept / path.name
