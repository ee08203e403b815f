"""The bundle and the splits that a served version was made from, as the artifacts of today or as they are kept."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from components.monitoring.inputs import MonitoredInputs, Reference
from components.monitoring.reference import read_reference
from components.package.bento import bento_folder
from components.params import Monitoring
from components.plumbing.artifacts import Layout, md5_of, verify
from components.plumbing.errors import InputError
from components.tracking.registry import CHAMPIONS
from serving.bundle import BundleError, identify, load_model, verify_bundle

Cached = Callable[[str], Path]
"""A function that returns where DVC's cache has the file with an md5, or would have it."""


def reference_of(
    root: Path, name: str, kind: MonitoredInputs, version: str, params: Monitoring, *, cached: Cached
) -> tuple[Reference, list[str]]:
    """Return the rows that a version was made from with its answers on them, and notes for the
    report where others stand in.

    `kind` says how the inputs of the recipe's task are read.
    """
    bundle = bundle_of(root, name, version)
    splits = [split_of(root, name, bundle, split, cached=cached) for split in ("train.parquet", "validation.parquet")]
    kept = root / ".modelyard" / "monitoring" / f"{name}-{version}-{md5_of(splits[1][0])[:12]}.parquet"
    reference = read_reference(
        bundle,
        kind,
        train=splits[0][0],
        validation=splits[1][0],
        kept=kept,
        max_rows=params.max_reference_rows,
        seed=params.seed,
        mix=params.expected_labels,
    )
    return reference, sorted({note for _, note in splits if note})


def bundle_of(root: Path, name: str, version: str) -> Path:
    """Return a bundle of the model whose digest begins with `version`, in any build: the artifact, or an earlier one
    that was promoted or served here; InputError where there is none."""
    layout = Layout(root, name, "package")
    made = layout.artifact / "bundle"
    if is_of(made, version):
        verify(layout.artifact, "bundle/")
        return made
    promoted = root / CHAMPIONS / name
    stored = bento_folder(f"{name}:{version}").parent
    for kept in (*promoted.glob(f"{version}*"), *(bento / "src" for bento in stored.glob(f"{version}*"))):
        if is_of(kept, version) and is_whole(kept):
            return kept
    raise InputError(
        f"the log was written by {name}:{version}, which is neither in {made} nor, whole, in {promoted} or "
        "BentoML's store; bring it back, or look at newer requests with --since"
    )


def is_of(bundle: Path, version: str) -> bool:
    """Return whether a folder says that it is a bundle of the model whose digest begins with `version`."""
    with suppress(BundleError):
        return identify(bundle).version.startswith(version)
    return False


def is_whole(bundle: Path) -> bool:
    """Return whether a folder holds every file of its bundle."""
    with suppress(BundleError):
        verify_bundle(bundle)
        return True
    return False


def split_of(root: Path, name: str, bundle: Path, split: str, *, cached: Cached) -> tuple[Path, str]:
    """Return a split that a bundle was made from, as the artifact or from DVC's cache; where neither has it, the
    artifact of another run and a note on that."""
    layout = Layout(root, name, "preprocess")
    path = layout.artifact / split
    made_from: dict[str, Any] = load_model(bundle).get("made_from", {}).get("preprocess", {}).get("outs", {})
    digest = made_from.get(f"artifacts/{name}/preprocess/{split}")
    if digest is not None and not (path.is_file() and md5_of(path) == digest):
        kept = cached(digest)
        if kept.is_file() and md5_of(kept) == digest:
            return kept, ""
        verify(layout.artifact, split)
        return path, "the splits that this version was made from are not in DVC's cache; the present ones stand in"
    verify(layout.artifact, split)
    return path, ""
