"""A bundle's files: what it was made from, and whether they are still the files that were packaged."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
PROVENANCE = "provenance.json"
ABOUT = "service.json"
CARD = "card.md"


class BundleError(Exception):
    """A bundle that must not be served."""


@dataclass(frozen=True)
class About:
    """service.json: which recipe the bundle is of, and how it is served."""

    name: str
    """The recipe's."""
    task: str
    """Which of serving/tasks it is served with."""
    limits: Mapping[str, int]
    """What the endpoint takes; its own class `Limits` says what each means."""


def load_about(folder: Path) -> About:
    """Read service.json."""
    return About(**json.loads((folder / ABOUT).read_text(encoding="utf-8")))


def load_lineage(folder: Path) -> dict[str, Any]:
    """What the bundle says of itself: `manifest`, and `provenance` or None."""
    provenance = folder / PROVENANCE
    return {
        "manifest": json.loads((folder / MANIFEST).read_text(encoding="utf-8")),
        "provenance": json.loads(provenance.read_text(encoding="utf-8")) if provenance.is_file() else None,
    }


def verify_bundle(folder: Path) -> None:
    """Raise BundleError where a file is missing, or is not the one that the manifest names."""
    try:
        files: dict[str, str] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError) as error:
        raise BundleError(f"{folder / MANIFEST} cannot be read ({error}); package the model again") from error
    for name, sha256 in files.items():
        path = folder / name
        if not path.is_file():
            raise BundleError(f"refusing to start: {name} of the manifest is missing; package the model again")
        with path.open("rb") as file:
            seen = hashlib.file_digest(file, "sha256").hexdigest()
        if seen != sha256:
            raise BundleError(
                f"refusing to start: {name} is not the file that was packaged (its sha256 begins with {seen[:12]}, the "
                f"manifest has {sha256[:12]}); package the model again"
            )
