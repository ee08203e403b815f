"""The files in which promotion names the versions that the running service watches for: the champion, a challenger."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from components.plumbing.artifacts import read_json, write_json
from components.plumbing.errors import ArtifactError
from components.tracking.registry import CHAMPIONS, Version

CHALLENGERS = ".modelyard/challengers"


@dataclass(frozen=True)
class Champion:
    """The content of `.modelyard/champions/<recipe>.json`: the version to be served.
    `.modelyard/challengers/<recipe>.json` names in the same form the version that may be tried beside it."""

    version: int
    digest: str
    """The model's."""
    build: str
    """The digest of the bundle, which is the model in one build of its service."""
    tag: str
    bundle: str
    """The path of the bundle's folder, whose manifest has the digest `build`."""


def read_named(path: Path) -> Any:
    """Return the content of such a file; None where there is none that can be read."""
    try:
        return read_json(path)
    except ArtifactError:
        return None


def champion_file(root: Path, recipe: str) -> Path:
    return root / CHAMPIONS / f"{recipe}.json"


def challenger_file(root: Path, recipe: str) -> Path:
    return root / CHALLENGERS / f"{recipe}.json"


def published(root: Path, recipe: str) -> Champion | None:
    """Return the champion that was published on this machine; None where none was, or the file names none."""
    try:
        named = read_named(champion_file(root, recipe))
        whole = {"build": named["digest"], **named}  # an earlier release named no build
        return Champion(**{field.name: whole[field.name] for field in fields(Champion)})
    except (KeyError, TypeError):
        return None


def name_version(path: Path, version: Version, bundle: Path) -> None:
    """Write which version it is and where its bundle lies to a file, unless that says so already."""
    said = asdict(Champion(version.number, version.digest, version.build, version.tag, str(bundle)))
    if read_named(path) != said:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, said)
