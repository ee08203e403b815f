"""Bundles that differ from one that was packaged."""

import shutil
from pathlib import Path

from components.package.bento import build_bento
from components.plumbing.artifacts import read_json, sha256_of, write_json


def with_limits(bundle: Path, folder: Path, **limits: int) -> str:
    """The tag of a Bento with other limits."""
    shutil.copytree(bundle, folder)
    about, manifest = read_json(folder / "service.json"), read_json(folder / "manifest.json")
    write_json(folder / "service.json", about | {"limits": about["limits"] | limits})
    manifest["files"]["service.json"] = sha256_of(folder / "service.json")
    write_json(folder / "manifest.json", manifest)
    return build_bento(folder, None)
