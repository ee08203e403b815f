"""Finds what is damaged of the artifacts that `dvc.lock` names, and takes it away, so that DVC has it made again.

DVC hashes neither an object of its cache that nobody may write, nor a file that has the time and the size of before:
what a failing disk or a stray write changed there comes back as good.
"""

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from shutil import rmtree
from typing import Any

from ruamel.yaml.error import YAMLError

from components.plumbing.artifacts import FILES, fault_of_files, fault_of_recorded, md5_of, read_json
from components.plumbing.errors import ArtifactError
from components.plumbing.lock_file import locked_stages

logger = logging.getLogger(__name__)


def fault_of(root: Path, recipe: str, stage: str) -> str | None:
    """Return which file of a stage's artifact is not as the stage made it, in words; None where all are.

    `files.json` is compared with its md5 in dvc.lock, and all others with their sha256 in it.
    """
    folder = root / "artifacts" / recipe / stage
    recorded = next((md5 for path, md5 in locked_outs(root, f"{stage}@{recipe}") if path == folder / FILES), None)
    if recorded is not None and (folder / FILES).is_file() and md5_of(folder / FILES) != recorded:
        return f"{folder / FILES} is not the file that was recorded"
    return fault_of_files(folder)


def drop_damaged(root: Path, recipe: str, stages: Iterable[str]) -> list[Path]:
    """Take away what is not as dvc.lock and files.json say of the artifacts of these stages, here and in DVC's cache;
    return the paths. What is sound in the cache, DVC brings back; the rest it has made again."""
    outs = {stage: locked_outs(root, f"{stage}@{recipe}") for stage in stages}
    if not any(outs.values()):
        return []
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
        cache = repo.cache.local
        taken = [path for locked in outs.values() for path in drop_objects(cache, locked)]
        for stage, locked in outs.items():
            for path, md5 in locked:
                if (path.exists() or path.is_symlink()) and digest_as_dvc(path) != md5:
                    taken.append(take_away(path))
            folder = root / "artifacts" / recipe / stage
            # DVC has taken the names in a folder's damaged list for the folder's, and put them into dvc.lock.
            for name in faulty_files(folder):
                for path, md5 in locked:
                    if path.exists() and (folder / name).is_relative_to(path):
                        taken += [take_away(Path(cache.oid_to_path(md5))), take_away(path)]
    return list(dict.fromkeys(taken))


def drop_objects(cache: Any, outs: Iterable[tuple[Path, str]]) -> list[Path]:
    """Remove from DVC's cache the objects of these outputs, and the lists of all folders, whose bytes are not those of
    their names; return the paths.

    DVC never replaces an object that is there, not even where a stage has made it again.
    """
    lists = Path(cache.path).glob("??/*.dir")
    found = [path for path in lists if md5_of(path) != path.parent.name + path.stem]
    found += [path for _, md5 in outs for path in damaged_objects(cache, md5)]
    for path in found:
        path.unlink(missing_ok=True)
    return found


def faulty_files(folder: Path) -> list[str]:
    """Return the files of an artifact that are missing or have other bytes than files.json says."""
    try:
        recorded: dict[str, str] = read_json(folder / FILES)
        return [name for name, sha256 in recorded.items() if fault_of_recorded(folder, {name: sha256})]
    except (ArtifactError, AttributeError, TypeError):
        return [FILES] if (folder / FILES).exists() else []


def locked_outs(root: Path, address: str) -> list[tuple[Path, str]]:
    """Return the outputs of a stage and the md5 of each, as dvc.lock has them; none where it has not."""
    with suppress(OSError, YAMLError, ValueError, KeyError):  # such as one with a merge's marks, which others tell
        entry = locked_stages(root).get(address, {})
        return [(root / out["path"], str(out["md5"])) for out in entry.get("outs", [])]
    return []


def damaged_objects(cache: Any, md5: str) -> Iterator[Path]:
    """Yield the objects of DVC's cache, of a file or of a folder with all that is in it, whose bytes are not those of
    their names."""
    path = Path(cache.oid_to_path(md5))
    if not path.is_file():
        return
    if md5_of(path) != md5.removesuffix(".dir"):
        yield path
    elif md5.endswith(".dir"):
        for part in json.loads(path.read_bytes()):
            yield from damaged_objects(cache, part["md5"])


def all_cached(root: Path, outs: Iterable[str]) -> bool:
    """Return whether DVC's cache has all of these outputs, by their md5."""
    from dvc.exceptions import DvcException  # here, since it takes half a second
    from dvc.repo import Repo

    try:
        with Repo(str(root)) as repo:
            return all(path.is_file() for md5 in outs for path in objects_of(repo.cache.local, md5))
    except (DvcException, OSError, ValueError) as error:
        logger.debug("DVC's cache cannot be read, and it counts as empty: %s", error)
        return False


def objects_of(cache: Any, md5: str) -> Iterator[Path]:
    """Yield where DVC's cache has, or would have, an output: a file, or a folder with all that is in it."""
    path = Path(cache.oid_to_path(md5))
    yield path
    if md5.endswith(".dir") and path.is_file():
        for part in json.loads(path.read_bytes()):
            yield from objects_of(cache, part["md5"])


def digest_as_dvc(path: Path) -> str:
    """Return the md5 of a file, or of a folder as DVC names it, by the bytes that are there now."""
    if not path.is_dir():
        return md5_of(path) if path.is_file() else ""
    names = sorted(p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file())
    listed = [{"md5": md5_of(path / name), "relpath": name} for name in names]
    return hashlib.md5(json.dumps(listed, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"


def take_away(path: Path) -> Path:
    """Remove a file or a folder, or of one that is a link the link alone; return its path."""
    if path.is_dir() and not path.is_symlink():
        rmtree(path)
    else:
        path.unlink(missing_ok=True)
    return path
