"""The files of a bundle: which model it holds, which build of the service, and whether they are what was packaged."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MODEL = "model.json"
"""The file that says what was trained, compressed and measured, with the sha256 of the model's files and of its golden
answers. Its own sha256 is the version of the model."""
MANIFEST = "manifest.json"
"""The file with the sha256 of every other file of the bundle, the model's and the service's. Its own is the build."""
PROVENANCE = "provenance.json"
ABOUT = "service.json"
CARD = "card.md"
GOLDEN = "golden.json"
SHORT = 12
"""The number of digits by which a digest is named in tags, logs and messages."""


class BundleError(Exception):
    """The error of a bundle that must not be served."""


@dataclass(frozen=True)
class BundleId:
    """The two digests that name a bundle, each a sha256 in 64 hexadecimal digits.

    They are the same in a bundle of an earlier release, whose one digest covers model and service.
    """

    version: str
    """The model's: what was trained, compressed and measured."""
    build: str
    """The whole bundle's: the model, and the service's code and limits."""

    @property
    def label(self) -> str:
        """The version part of the Bento's tag: the first digits of both."""
        if self.version == self.build:
            return self.version[:SHORT]
        return f"{self.version[:SHORT]}-{self.build[:SHORT]}"


@dataclass(frozen=True)
class About:
    """The content of service.json: which recipe the bundle is of, and how it is served."""

    name: str
    """The name of the recipe."""
    task: str
    """The name of the folder of serving/tasks that serves it."""
    limits: Mapping[str, int]
    """The limits of the endpoint; its own class `Limits` says what each means."""


def load_about(folder: Path) -> About:
    """Read service.json."""
    return About(**json.loads((folder / ABOUT).read_text(encoding="utf-8")))


def identify(folder: Path) -> BundleId:
    """Return the digests of a bundle by its manifest, whose files are not looked at; BundleError where it cannot be
    read."""
    files, build = read_manifest(folder)
    return BundleId(version=files.get(MODEL, build), build=build)


def load_model(folder: Path) -> dict[str, Any]:
    """Return what is known of the model: the content of model.json, or of an earlier release's manifest.json."""
    path = folder / MODEL
    return json.loads((path if path.is_file() else folder / MANIFEST).read_text(encoding="utf-8"))


def load_lineage(folder: Path) -> dict[str, Any]:
    """Return what a bundle says of itself: the digests `version` and `build`, `model`, `manifest`, and `provenance` or
    None."""
    identity, provenance = identify(folder), folder / PROVENANCE
    return {
        "version": identity.version,
        "build": identity.build,
        "model": load_model(folder),
        "manifest": json.loads((folder / MANIFEST).read_text(encoding="utf-8")),
        "provenance": json.loads(provenance.read_text(encoding="utf-8")) if provenance.is_file() else None,
    }


def read_manifest(folder: Path) -> tuple[dict[str, str], str]:
    """Return the sha256 of each file by its path, and of the manifest itself; BundleError where it cannot be read."""
    try:
        written = (folder / MANIFEST).read_bytes()
        return dict(json.loads(written)["files"]), hashlib.sha256(written).hexdigest()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{folder / MANIFEST} cannot be read ({error}); package the model again") from error


def misnamed(folder: Path, files: Mapping[str, str]) -> str | None:
    """Return the first file of the model whose sha256 in model.json is not the one in `files`, the manifest's; None
    where both name the same model, or there is no model.json."""
    if MODEL not in files:
        return None
    return next((name for name, sha256 in load_model(folder)["files"].items() if files.get(name) != sha256), None)


def verify_bundle(folder: Path) -> None:
    """Raise BundleError where a file is missing, is not the one that the manifest names, or is not the model's."""
    files, _ = read_manifest(folder)
    for name, sha256 in files.items():
        path = folder / name
        if not path.is_file():
            raise BundleError(f"refusing to start: {name} of the manifest is missing; package the model again")
        with path.open("rb") as file:
            seen = hashlib.file_digest(file, "sha256").hexdigest()
        if seen != sha256:
            raise BundleError(
                f"refusing to start: {name} is not the file that was packaged (its sha256 begins with {seen[:SHORT]}, "
                f"the manifest has {sha256[:SHORT]}); package the model again"
            )
    if name := misnamed(folder, files):
        raise BundleError(f"refusing to start: {MODEL} is of another {name}; package the model again")
