"""The files in which promotion names the versions that the running service watches for: the champion, a challenger."""

from dataclasses import asdict, dataclass
from pathlib import Path

from components.plumbing.artifacts import read_json, write_json
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


def champion_file(root: Path, recipe: str) -> Path:
    return root / CHAMPIONS / f"{recipe}.json"


def challenger_file(root: Path, recipe: str) -> Path:
    return root / CHALLENGERS / f"{recipe}.json"


def published(root: Path, recipe: str) -> Champion | None:
    """Return the champion that was published on this machine; None where none ever was."""
    path = champion_file(root, recipe)
    if not path.is_file():
        return None
    named = read_json(path)
    return Champion(**{"build": named["digest"], **named})  # an earlier release named no build


def name_version(path: Path, version: Version, bundle: Path) -> None:
    """Write which version it is and where its bundle lies to a file, unless that says so already."""
    said = asdict(Champion(version.number, version.digest, version.build, version.tag, str(bundle)))
    if not path.is_file() or read_json(path) != said:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, said)
