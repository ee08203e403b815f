"""The files of a bundle: which model it holds, which build of the service, and whether they are what was packaged."""

import hashlib
import json
import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
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
REPORT = "report.html"
"""The page on how the model was judged, with rows of the data; bundles of an earlier release have none."""
GOLDEN = "golden.json"
BENTO = "bento.yaml"
"""The file by which BentoML knows a Bento, in the folder above the bundle's."""
SOURCES = "src"
"""The folder of a Bento that holds the bundle."""
OF_BENTOML = frozenset(
    {
        BENTO,
        "README.md",
        "apis/openapi.yaml",
        "apis/schema.json",
        "env/docker/Dockerfile",
        "env/docker/entrypoint.sh",
        "env/python/requirements.in",
        "env/python/requirements.txt",
    }
)
"""The files that BentoML writes around a bundle."""
BENTOFILE = "bentofile.yaml"
BENTOFILE_PACKAGE = re.compile(r"^    - (.+)$", re.MULTILINE)
BYTECODE = "__pycache__"
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
    with reading(folder / ABOUT):
        return About(**json.loads((folder / ABOUT).read_text(encoding="utf-8")))


def identify(folder: Path) -> BundleId:
    """Return the digests of a bundle by its manifest, whose files are not looked at; BundleError where it cannot be
    read."""
    files, build = read_manifest(folder)
    return BundleId(version=files.get(MODEL, build), build=build)


def load_model(folder: Path) -> dict[str, Any]:
    """Return what is known of the model: the content of model.json, or of an earlier release's manifest.json."""
    path = folder / MODEL
    with reading(path := path if path.is_file() else folder / MANIFEST):
        return json.loads(path.read_text(encoding="utf-8"))


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
    """Raise BundleError where a file is missing, is not the one that the manifest names or is not named there, or is
    not the model's."""
    files, _ = read_manifest(folder)
    for name, sha256 in files.items():
        path = folder / name
        if not path.is_file():
            raise BundleError(f"{name} of the manifest is missing; package the model again")
        with path.open("rb") as file:
            seen = hashlib.file_digest(file, "sha256").hexdigest()
        if seen != sha256:
            raise BundleError(
                f"{name} is not the file that was packaged (its sha256 begins with {seen[:SHORT]}, "
                f"the manifest has {sha256[:SHORT]}); package the model again"
            )
    known = {MANIFEST, PROVENANCE, *files}
    if unknown := next((name for name in entries(folder) if name not in known), None):
        raise BundleError(f"{unknown} is no file of the manifest; remove it, or package the model again")
    if name := misnamed(folder, files):
        raise BundleError(f"{MODEL} is of another {name}; package the model again")


def verify_bento(folder: Path) -> None:
    """Raise what `verify_bundle` raises, and BundleError where the Bento around the bundle has another tag than the
    bundle's digests, holds a file that BentoML did not write, or needs packages that the bundle does not.

    A bundle that is in no Bento is judged alone.
    """
    verify_bundle(folder)
    bento = folder.parent
    if folder.name != SOURCES or not (bento / BENTO).is_file():
        return
    if unknown := next((name for name in entries(bento, besides=folder) if name not in OF_BENTOML), None):
        raise BundleError(
            f"{unknown} of the Bento is no file that BentoML wrote; remove it, or package the model again"
        )
    packages = set(BENTOFILE_PACKAGE.findall((folder / BENTOFILE).read_text(encoding="utf-8")))
    for required in (bento / "env/python").glob("requirements.*"):
        if odd := set(required.read_text(encoding="utf-8").split("\n")) - packages - {""}:
            raise BundleError(
                f"{required.name} of the Bento has {min(odd)}, which {BENTOFILE} has not; package it again"
            )
    name, label = load_about(folder).name, identify(folder).label
    if tag_in(bento / BENTO) != (name, label) or (bento.parents[1].name == "bentos" and bento.name != label):
        raise BundleError(f"the Bento holds {name}:{label}, which is not its tag; package the model again")


def entries(folder: Path, *, besides: Path | None = None) -> Generator[str]:
    """Yield the path of each file below a folder, links included, without those in the folder `besides` and without the
    bytecode that Python keeps of a file that is there."""
    for path in sorted(folder.rglob("*")):
        if (besides is not None and path.is_relative_to(besides)) or (path.is_dir() and not path.is_symlink()):
            continue
        if path.parent.name == BYTECODE and (path.parents[1] / f"{path.name.partition('.')[0]}.py").is_file():
            continue
        yield path.relative_to(folder).as_posix()


def tag_in(bento_yaml: Path) -> tuple[str, str]:
    """Return the name and the version that BentoML reads of a Bento."""
    lines = bento_yaml.read_text(encoding="utf-8", errors="replace").splitlines()
    given = {key: value.strip(" '\"") for key, colon, value in (line.partition(":") for line in lines) if colon}
    return given.get("name", ""), given.get("version", "")


@contextmanager
def reading(path: Path) -> Generator[None]:
    """Read a file of a bundle in the block; BundleError, with the file and the error, where that fails."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        said = " ".join(str(error).split())[:300]
        raise BundleError(f"{path.name} cannot be loaded ({type(error).__name__}: {said})") from error
