"""Brings back the last good artifact of a stage that failed or was killed.

DVC empties a stage's outputs before it runs, so that its run cache works. Where the stage then makes none, what
`dvc.lock` names is put in place again, from DVC's cache.
"""

import json
import logging
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml.error import YAMLError

from components.plumbing.artifacts import FILES, disk_errors, md5_of, replace
from components.plumbing.errors import ArtifactError, ModelyardError
from components.plumbing.lock_file import locked_stages
from components.plumbing.locks import hold

logger = logging.getLogger(__name__)


def bring_back(root: Path, recipes: Iterable[str] | None = None) -> list[str]:
    """Put the last good artifact in place wherever a stage left none that is whole; return the stages' addresses.

    All recipes are looked at, unless some are named. A recipe that a process works on is left to that process, and what
    neither `dvc.lock` nor DVC's cache has stays as it is, for its stage to say.
    """
    lost = [folder for folder in folders_in(root, recipes) if is_lost(folder)]
    if not lost:
        return []
    from dvc.exceptions import DvcException

    try:
        locked = locked_stages(root)
    except (OSError, YAMLError, ValueError) as error:  # such as one with a merge's marks in it, which DVC tells of
        logger.debug("dvc.lock cannot be read, and nothing is brought back: %s", error)
        return []
    back: list[str] = []
    for folder in lost:
        stage, recipe = folder.name, folder.parent.name
        entry = locked.get(f"{stage}@{recipe}")
        try:
            if entry and restore(root, folder, entry):
                back.append(f"{stage}@{recipe}")
        except (ModelyardError, DvcException, OSError, ValueError) as error:  # what stopped the stage is to be told
            logger.debug("%s is not brought back: %s", folder, error)
    for address in back:
        logger.info("%s: its last good artifact is in place again, from DVC's cache", address)
    return back


def folders_in(root: Path, recipes: Iterable[str] | None) -> list[Path]:
    """Return the folders of the artifacts of stages, whether these are there or not."""
    above = root / "artifacts"
    names = sorted(path.name for path in above.iterdir()) if recipes is None and above.is_dir() else recipes or ()
    found: set[Path] = set()
    for recipe in names:
        if (above / recipe).is_dir():
            stages = {one.name.strip(".").split(".")[0] for one in (above / recipe).iterdir() if one.is_dir()}
            found |= {above / recipe / stage for stage in stages}
    return sorted(found)


def is_lost(folder: Path) -> bool:
    """Return whether an artifact's folder lacks files that it recorded, or the record."""
    try:
        recorded: dict[str, str] = json.loads((folder / FILES).read_text(encoding="utf-8"))
        return not all((folder / name).is_file() for name in recorded)
    except (OSError, ValueError):
        return True


def restore(root: Path, folder: Path, entry: Mapping[str, Any]) -> bool:
    """Write the artifact that an entry of dvc.lock names; return whether the cache had all of it.

    ArtifactError where an object of the cache is not what its name says; BusyError where the recipe is being run.
    """
    from dvc.repo import Repo

    recipe = folder.parent.name
    with (
        hold(root, f"{recipe}.stage", doing=f"bringing back {folder.name}@{recipe}", wait=False),
        Repo(str(root)) as repo,
        repo.lock,  # no DVC command works on the same folders meanwhile
        disk_errors(folder),
    ):
        if not is_lost(folder):  # by now
            return False
        partial = folder.with_name(f".{folder.name}.back")
        shutil.rmtree(partial, ignore_errors=True)
        try:
            for out in entry.get("outs", []):
                target = partial / (root / out["path"]).relative_to(folder)
                if not copy_object(repo.cache.local, out.get("md5", ""), target):
                    return False
            if is_lost(partial):
                return False
            replace(partial, folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return True


def copy_object(cache: Any, md5: str, target: Path) -> bool:
    """Copy a file or a folder out of DVC's cache; return whether the cache has it. ArtifactError
    where it is damaged there."""
    path = Path(cache.oid_to_path(md5))
    if not md5 or not path.is_file():
        return False
    if md5.endswith(".dir"):
        target.mkdir(parents=True, exist_ok=True)
        parts = json.loads(path.read_text(encoding="utf-8"))
        return all(copy_object(cache, part["md5"], target / part["relpath"]) for part in parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, target)
    if md5_of(target) != md5:
        raise ArtifactError(f"{path} in DVC's cache is damaged: its bytes are not those of its name")
    return True
