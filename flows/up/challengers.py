"""canary: puts the model that was packaged last beside the champion, on real requests, as the recipe's service says."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from components.artifacts import Layout, disk_errors, read_json, sha256_of, verify, write_json
from components.errors import ArtifactError, InputError
from components.package.bento import tag_of
from components.params import Canary
from components.recipes import load_recipe
from components.tracking import Store
from serving.bundle import MANIFEST


@dataclass(frozen=True)
class Challenger:
    """`.modelyard/challengers/<recipe>.json`: what the router is to try."""

    version: int
    digest: str
    tag: str
    bundle: str


def challenge(root: Path, recipe: str) -> Challenger:
    """Have the packaged bundle tried; the router begins within a second where it runs, or else when it is started.

    InputError where the recipe wants no trial, or the bundle is the champion's already.
    """
    service = load_recipe(root, recipe).service
    if service is None or not isinstance(service.canary, Canary):
        raise InputError(
            f"recipes.{recipe}.service.canary.mode is not 'shadow' or 'canary', so no challenger is tried on requests; "
            f"change it, or promote by the held-out rows: modelyard promote {recipe}"
        )
    layout = Layout(root, recipe, "package")
    verify(layout.artifact, "bundle/")
    packaged = layout.artifact / "bundle"
    digest, tag = sha256_of(packaged / MANIFEST), tag_of(packaged)
    if champion_digest(root, recipe) == digest:
        raise InputError(f"{tag} is the champion of {recipe} already; 'modelyard run {recipe}' makes a challenger")
    version = number_of(root, recipe, digest)
    folder = root / ".modelyard" / "challengers"
    kept = folder / recipe / digest[:12]  # the next run replaces the packaged one
    with disk_errors(kept):
        shutil.rmtree(folder / recipe, ignore_errors=True)
        shutil.copytree(packaged, kept)
    (root / ".modelyard" / "canary" / f"{recipe}.json").unlink(missing_ok=True)  # an earlier verdict on it
    challenger = Challenger(version, digest, tag, str(kept))
    write_json(folder / f"{recipe}.json", challenger.__dict__)
    return challenger


def withdraw(root: Path, recipe: str) -> bool:
    """End a trial without a verdict; gives whether there was a challenger."""
    load_recipe(root, recipe)
    path = root / ".modelyard" / "challengers" / f"{recipe}.json"
    is_there = path.exists()
    path.unlink(missing_ok=True)
    return is_there


def champion_digest(root: Path, recipe: str) -> str | None:
    """Whom promotion names."""
    path = root / ".modelyard" / "champions" / f"{recipe}.json"
    return read_json(path)["digest"] if path.is_file() else None


def number_of(root: Path, recipe: str, digest: str) -> int:
    """The version in the registry with this bundle."""
    found = Store(root, recipe).client.search_model_versions(f"name = '{recipe}' AND tags.digest = '{digest}'")
    if not found:
        raise ArtifactError(
            f"the bundle that is packaged for {recipe} is no version of the registry, so that it could not be "
            f"promoted; run the stage again: modelyard run {recipe} --force package"
        )
    return int(found[0].version)
