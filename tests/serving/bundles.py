"""Bundles that differ from one that was packaged."""

import shutil
from pathlib import Path

from components.package.bento import build_bento, tag_of
from components.plumbing.artifacts import read_json, sha256_of, write_json


def rewrite(bundle: Path, **files: bytes) -> Path:
    """Write files of a bundle's model anew, so that model.json and the manifest name them; `__` stands for a dot."""
    model, manifest = read_json(bundle / "model.json"), read_json(bundle / "manifest.json")
    for name, content in files.items():
        path = bundle / name.replace("__", ".")
        path.write_bytes(content)
        model["files"][path.name] = manifest["files"][path.name] = sha256_of(path)
    write_json(bundle / "model.json", model)
    manifest["files"]["model.json"] = sha256_of(bundle / "model.json")
    write_json(bundle / "manifest.json", manifest)
    return bundle


def with_limits(bundle: Path, folder: Path, *, provenance: Path | None = None, **limits: int) -> str:
    """The tag of a Bento with other limits, and the provenance of the one that was packaged."""
    shutil.copytree(bundle, folder)
    about, manifest = read_json(folder / "service.json"), read_json(folder / "manifest.json")
    write_json(folder / "service.json", about | {"limits": about["limits"] | limits})
    manifest["files"]["service.json"] = sha256_of(folder / "service.json")
    write_json(folder / "manifest.json", manifest)
    if provenance is None:
        return build_bento(folder, None)
    own = folder.parent / "provenance.json"
    write_json(own, read_json(provenance) | {"tag": tag_of(folder)})
    return build_bento(folder, own)
