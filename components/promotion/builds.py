"""The build in which a version is served: the service around a model, which changes without the champion gate.

A version is its model. A fix of the service makes another build of the same version, which the stage `package` lets
pass only after it has given the golden answers that the model was measured with, and those are part of the version. So
whoever settles a recipe's champion serves it in the build that is packaged here, and the ledger notes the change.
"""

import logging
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from components.plumbing import artifacts
from components.plumbing.artifacts import REPORT, Layout, disk_errors, read_json, verify
from components.plumbing.errors import ArtifactError
from components.promotion.published import published
from components.tracking.registry import CHAMPIONS, Registry, Version, fault_of
from serving.bundle import BundleError, identify

logger = logging.getLogger(__name__)


def in_present_build(root: Path, version: Version) -> Version:
    """Return a version in the build to serve here: the packaged one, where it is of this version; else the one that is
    published, where it is whole; else the registry's."""
    found = packaged_build(root, version) or published_build(root, version) or version.build
    return replace(version, build=found)


def packaged_build(root: Path, version: Version) -> str | None:
    """Return the digest of the packaged bundle, where it is of this version and as it was recorded; else None."""
    layout = Layout(root, version.recipe, "package")
    with suppress(BundleError, ArtifactError):
        identity = identify(layout.artifact / "bundle")
        if identity.version == version.digest:
            verify(layout.artifact, "bundle/")
            return identity.build
    return None


def published_build(root: Path, version: Version) -> str | None:
    """Return the digest of the build that is published, where it is of this version and whole; else None."""
    named = published(root, version.recipe)
    if named is None or named.digest != version.digest or fault_of(Path(named.bundle), named.build) is not None:
        return None
    return named.build


def bring(root: Path, registry: Registry, version: Version) -> tuple[Version, Path]:
    """Bring a version's bundle to this machine, checked against its digest; return the version in the build that is
    served here, and the bundle's folder."""
    present = in_present_build(root, version)
    folder = root / CHAMPIONS / version.recipe / present.label
    packaged = Layout(root, version.recipe, "package").artifact / "bundle"
    with disk_errors(folder):
        if present.build != version.build and fault_of(folder, present.build) is not None:
            copy_bundle(packaged, folder, build=present.build)
        registry.bring(present, folder)
    return present, folder


def copy_bundle(bundle: Path, folder: Path, *, build: str) -> None:
    """Copy a bundle to `folder`, whole or not at all; ArtifactError where the copy is not this build."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copytree(bundle, partial)
        if fault := fault_of(partial, build):
            raise ArtifactError(f"{bundle} changed while it was copied: {fault}; try again")
        artifacts.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def build_of(end: Mapping[str, Any]) -> str:
    """Return the build of a version as the ledger or a file names it; of an earlier release's, its one digest."""
    return end.get("build") or end["digest"]


def proof_of(root: Path, version: Version) -> dict[str, Any]:
    """Return the figures with which the packaged build was proved to answer as the model did; empty where another is
    packaged."""
    if packaged_build(root, version) != version.build:
        return {}
    report = read_json(Layout(root, version.recipe, "package").artifact / REPORT)
    return {name: report[name] for name in ("num_golden", "num_other", "max_difference")}
