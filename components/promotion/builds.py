"""The build in which a version is served: the service around a model, which changes without the champion gate.

A version is its model. A fix of the service makes another build of the same version, which the stage `package` lets
pass only after it has given the golden answers that the model was measured with, and those are part of the version. So
whoever settles a recipe's champion has it served in the build that is packaged here, and the ledger notes the change.
"""

import logging
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from components.plumbing.artifacts import REPORT, Layout, disk_errors, read_json, replacing_folder, verify
from components.plumbing.errors import ArtifactError
from components.promotion.ledger import SERVED, entries
from components.promotion.published import published
from components.tracking.registry import CHAMPIONS, Registry, Version, fault_of
from serving.bundle import MANIFEST, BundleError, BundleId, identify, read_manifest

logger = logging.getLogger(__name__)

PROOF = ("num_golden", "num_other", "max_difference")
"""The figures of package's report that say how a build answered the golden requests of its model."""


def in_present_build(root: Path, version: Version) -> Version:
    """Return a version in the build to serve here.

    That is the packaged build, where it is of this version; else the one that is published or was served last, where
    its bundle is still here and whole; else the registry's.
    """
    if (packaged := packaged_build(root, version)) is not None:
        return replace(version, build=packaged[0])
    for build in (published_build(root, version), served_build(root, version)):
        if build is not None:
            kept = replace(version, build=build)
            if fault_of(folder_of(root, kept), kept.identity) is None:
                return kept
    return version


def packaged_build(root: Path, version: Version) -> tuple[str, dict[str, Any]] | None:
    """Return the digest of the packaged bundle and the figures that prove it, where it is of this version, as it was
    recorded, and gave the golden answers; else None."""
    layout = Layout(root, version.recipe, "package")
    bundle = layout.artifact / "bundle"
    if not (bundle / MANIFEST).is_file():
        return None
    try:
        identity = identify(bundle)
        if identity.version != version.digest:
            return None
        verify(layout.artifact, "bundle/")
        verify(layout.artifact, REPORT)
        report = read_json(layout.artifact / REPORT)
        fault = fault_of(bundle, identity)
    except (BundleError, ArtifactError, OSError) as error:
        logger.warning("the packaged build of %s is left aside: %s", version.recipe, error)
        return None
    is_proved = report.get("build") == identity.build and report.get("num_other") == 0 and report.keys() >= {*PROOF}
    return (identity.build, {name: report[name] for name in PROOF}) if is_proved and fault is None else None


def published_build(root: Path, version: Version) -> str | None:
    """Return the build that is published, where it is of this version; else None."""
    named = published(root, version.recipe)
    return named.build if named is not None and named.digest == version.digest else None


def served_build(root: Path, version: Version) -> str | None:
    """Return the build in which a version was served last, by the ledger; None where it never was."""
    for entry in reversed(entries(root, version.recipe)):
        if entry.get("action") in SERVED and entry["to"]["digest"] == version.digest:
            return build_of(entry["to"])
    return None


def folder_of(root: Path, version: Version) -> Path:
    """Return the folder that keeps the bundle of a version, in its build, on this machine."""
    return root / CHAMPIONS / version.recipe / version.label


def bring(root: Path, registry: Registry, version: Version) -> tuple[Version, Path]:
    """Bring a version's bundle to this machine, checked against its digests; return the version in the build to serve
    here, and the bundle's folder. ArtifactError where the bundle cannot be had."""
    present = in_present_build(root, version)
    folder = folder_of(root, present)
    with disk_errors(folder):
        if present.build != version.build and fault_of(folder, present.identity) is not None:
            packaged = Layout(root, version.recipe, "package").artifact / "bundle"
            copy_bundle(packaged, folder, present.identity)
        registry.bring(present, folder)
    return present, folder


def copy_bundle(bundle: Path, folder: Path, identity: BundleId) -> None:
    """Copy a bundle to `folder`, whole or not at all; ArtifactError where the copy is not the bundle of `identity`."""
    try:
        with replacing_folder(folder) as partial:
            for name in (*read_manifest(bundle)[0], MANIFEST):
                (partial / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(bundle / name, partial / name)
            if fault := fault_of(partial, identity):
                raise ArtifactError(f"{bundle} changed while it was copied: {fault}; try again")
    except (BundleError, FileNotFoundError) as error:
        raise ArtifactError(f"{bundle} changed while it was copied ({error}); try again") from error


def build_of(end: Mapping[str, Any]) -> str:
    """Return the build of a version as the ledger names it; an earlier release named none: its digest is of both."""
    return end.get("build") or end["digest"]
