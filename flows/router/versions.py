"""The version of a model that is to be served, as promotion leaves it in a file."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serving.bundle import BundleId

KEYS = ("version", "digest", "tag", "bundle")


@dataclass(frozen=True)
class ServedVersion:
    """A version of a model in the registry, in one build of its service, and where that bundle lies."""

    version: str
    """Its number in the registry; empty where it was packaged and not registered."""
    digest: str
    """The model's: the sha256 of model.json."""
    build: str
    """The bundle's: the sha256 of its manifest, which names that of every other file, the model's and the service's."""
    tag: str
    """The tag of its Bento."""
    bundle: Path
    named_ns: int = field(default=0, compare=False)
    """The time in nanoseconds since 1970 at which the file that names it was written; 0 where no file does."""

    @property
    def identity(self) -> BundleId:
        """The digests of the model and of the bundle."""
        return BundleId(self.digest, self.build)

    @property
    def name(self) -> str:
        """The version's name for messages."""
        return f"version {self.version} ({self.tag})" if self.version else self.tag


class VersionError(Exception):
    """The error of a file that names no version."""


def read_version(path: Path, *, root: Path) -> ServedVersion | None:
    """Read the version that a file names; None where there is no file, VersionError where it cannot be read."""
    try:
        named_ns = path.stat().st_mtime_ns
        read: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise VersionError(f"{path} cannot be read: {error}") from error
    missing = [key for key in KEYS if key not in read] if isinstance(read, dict) else list(KEYS)
    if missing:
        raise VersionError(f"{path} has no {', '.join(missing)}; promote a version again")
    version = "" if read["version"] is None else str(read["version"])
    digest, tag, bundle = str(read["digest"]), str(read["tag"]), root / str(read["bundle"])
    return ServedVersion(version, digest, str(read.get("build", digest)), tag, bundle, named_ns)
