"""The folders that stages read and write, and the way in which a folder becomes an artifact.

An artifact is the folder `artifacts/<recipe>/<stage>/`. It is written to a sibling and renamed into place when it is
whole, with `report.json` (every figure of the stage) and `files.json` (the sha256 of every other file). A stage opens
an input only after its bytes are found to be those that were recorded.
"""

import errno
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

from components.plumbing.errors import ArtifactError, DiskFullError

REPORT = "report.json"
METRICS = "metrics.json"
"""The file with the few of a report's figures that are compared between runs; DVC shows it."""
PAGE = "report.html"
"""The page on the model that a person reads, among evaluate's results."""
FILES = "files.json"
ERROR = "error.json"
"""The file, among the observations, with the message and exit code of a stage that stopped."""
PREDICTOR = "predictor.json"
"""The file, in preprocess's folder `predictor/`, with what a predictor needs to read a request as training did."""
TOKENIZER = "tokenizer.json"
"""The tokenizer's file, beside predictor.json where there are texts, and beside the weights that
were trained on its tokens."""

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
SAID_FULL = ("no space left on device", "disk quota exceeded", "database or disk is full")
"""What the kernel, and SQLite, say of a full disk, in the words of whichever library passes it on."""
NEARLY_FULL_BYTES = 10_000_000
"""The free bytes below which a server that ends at once has most likely met a full disk."""

WHERE_KNOWN = {"where_known": True}
"""The metadata of a field of a `Report` that report.json has only where it is not None."""

Paths = TypeVar("Paths")
Place = Literal["artifact", "checkpoints", "kept", "observations", "project", "recipe"]


def artifact(name: str) -> Any:
    """Declare a field of `Inputs` (`<stage>/<file>`) or of `Outputs` (`<file>`); a folder's name ends with a slash."""
    return field(metadata={"place": "artifact", "name": name})


def checkpoints() -> Any:
    """Declare a field of `Outputs`: a folder that outlives a killed run, for this exact work (params and inputs)."""
    return field(metadata={"place": "checkpoints", "name": ""})


def kept() -> Any:
    """Declare a field of `Outputs`: a folder for parts of the work that other settings of the stage can use again; the
    stage itself says of which work each part is, and removes what it no longer needs."""
    return field(metadata={"place": "kept", "name": ""})


def observations() -> Any:
    """Declare a field of `Outputs`: the folder for what is seen but not versioned (timings, HTML, logs)."""
    return field(metadata={"place": "observations", "name": ""})


def project() -> Any:
    """Declare a field of `Inputs`: the project's folder, to which a source's relative path is relative."""
    return field(metadata={"place": "project", "name": ""})


def recipe_name() -> Any:
    """Declare a field of `Inputs`: the recipe's name, a string."""
    return field(metadata={"place": "recipe", "name": ""})


def figures_of(report: Any) -> dict[str, Any]:
    """Return the figures of a `Report` as report.json has them."""
    unknown = {
        f.name for f in fields(report) if f.metadata.keys() == WHERE_KNOWN.keys() and getattr(report, f.name) is None
    }
    return {name: value for name, value in asdict(report).items() if name not in unknown}


def artifact_names(paths: type[Any]) -> list[str]:
    """Return the artifact names that an `Inputs` or `Outputs` class declares, in its order."""
    return [f.metadata["name"] for f in fields(paths) if f.metadata["place"] == "artifact"]


@dataclass(frozen=True)
class Layout:
    """The project's folders, for one recipe and stage."""

    root: Path
    """The folder that holds dvc.yaml and params.yaml."""
    recipe: str
    stage: str

    @property
    def artifact(self) -> Path:
        return self.of(self.stage)

    @property
    def observations(self) -> Path:
        return self.root / "observations" / self.recipe / self.stage

    @property
    def kept(self) -> Path:
        return self.root / "checkpoints" / self.recipe / f"{self.stage}.kept"

    def of(self, stage: str) -> Path:
        """Return the folder of the artifact of any stage of this recipe."""
        return self.root / "artifacts" / self.recipe / stage

    def checkpoints(self, fingerprint: str) -> Path:
        return self.root / "checkpoints" / self.recipe / self.stage / fingerprint

    def drop_checkpoints(self, *, but: str | None = None) -> None:
        """Remove the stage's checkpoints, or all but those of one fingerprint."""
        folder = self.checkpoints("")
        if but is None or not (folder / but).is_dir():
            shutil.rmtree(folder, ignore_errors=True)
            return
        for other in folder.iterdir():
            if other.name != but:
                shutil.rmtree(other, ignore_errors=True)

    def inputs(self, paths: type[Paths]) -> Paths:
        """Bind an `Inputs` class to this recipe, and check every file against its recorded sha256."""
        bound: dict[str, Path | str] = {}
        given: dict[Place, Path | str] = {"project": self.root, "recipe": self.recipe}
        declared: Any = paths  # a dataclass, which a type variable cannot say
        for item in fields(declared):
            name: str = item.metadata["name"]
            if item.metadata["place"] in given:
                bound[item.name] = given[item.metadata["place"]]
                continue
            bound[item.name] = self.of("") / name
            verify(self.of(name.split("/", 1)[0]), name.split("/", 1)[1])
        return paths(**bound)

    def input_digests(self, paths: type[Any]) -> dict[str, str]:
        """Return the recorded sha256 of every file that an `Inputs` class names."""
        found: dict[str, str] = {}
        for name in artifact_names(paths):
            stage, within = name.split("/", 1)
            recorded: dict[str, str] = read_json(self.of(stage) / FILES)
            found |= {f"{stage}/{n}": sha256 for n, sha256 in recorded.items() if n.startswith(within)}
        return found

    def renew_observations(self) -> None:
        """Make an empty folder for the observations of this run."""
        shutil.rmtree(self.observations, ignore_errors=True)
        self.observations.mkdir(parents=True)

    def outputs(self, paths: type[Paths], *, folder: Path, fingerprint: str) -> Paths:
        """Bind an `Outputs` class; its artifact fields lie in `folder`, which is not yet in place."""
        places: dict[Place, Callable[[str], Path]] = {
            "artifact": lambda name: folder / name,
            "checkpoints": lambda _: self.checkpoints(fingerprint),
            "kept": lambda _: self.kept,
            "observations": lambda _: self.observations,
        }
        declared: Any = paths
        bound = {f.name: places[f.metadata["place"]](f.metadata["name"]) for f in fields(declared)}
        return paths(**bound)


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def md5_of(path: Path) -> str:
    """Return the md5 of a file's bytes, by which dvc.lock names it, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def files_of(folder: Path) -> dict[str, str]:
    """Return the sha256 of every file below `folder` (`files.json` at its top left out), by its path in it, sorted."""
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    return {name: sha256_of(folder / name) for name in names if name != FILES}


def digest_of(folder: Path) -> str | None:
    """Return the digest of an artifact's content: the sha256 of its `files.json`, or None where there is none."""
    recorded = folder / FILES
    return sha256_of(recorded) if recorded.is_file() else None


def fingerprint_of(params: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """Return a name for one exact piece of work, 16 hexadecimal digits of its parameters and
    the digests of its inputs."""
    text = json.dumps({"params": params, "inputs": inputs}, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def verify(folder: Path, name: str) -> None:
    """Check a file, or every file below a folder whose name ends with a slash, against `files.json`.

    Raises ArtifactError where one is missing, is new, or has other bytes than were recorded.
    """
    again = f"'modelyard run {folder.parent.name}' brings it back, or makes it again"
    recorded_at = folder / FILES
    if not recorded_at.is_file():
        raise ArtifactError(f"{folder} is not a whole artifact (no {FILES}); {again}")
    recorded: dict[str, str] = read_json(recorded_at)
    expected = {n: h for n, h in recorded.items() if n == name or (name.endswith("/") and n.startswith(name))}
    present = [p for p in (folder / name).rglob("*") if p.is_file()] if name.endswith("/") else [folder / name]
    extra = {p.relative_to(folder).as_posix() for p in present} - expected.keys()
    if fault := fault_of_recorded(folder, expected):
        raise ArtifactError(f"{fault}; {again}")
    if extra:
        raise ArtifactError(f"{folder / sorted(extra)[0]} is in the artifact but was never recorded; remove it")


def fault_of_files(folder: Path) -> str | None:
    """Return which file of an artifact is missing or is not what `files.json` says, in words; None where none is."""
    try:
        return fault_of_recorded(folder, read_json(folder / FILES))
    except (ArtifactError, AttributeError, TypeError):
        return f"{folder / FILES} is missing, or holds no list of files"


def fault_of_recorded(folder: Path, recorded: Mapping[str, str]) -> str | None:
    """Return the first file that is missing or has another sha256 than was recorded, in words; None where none is."""
    for name, sha256 in recorded.items():
        path = folder / name
        if not path.is_file():
            return f"{path} is missing"
        if sha256_of(path) != sha256:
            return f"{path} is not the file that was recorded"
    return None


@contextmanager
def writing(folder: Path) -> Generator[Path]:
    """Yield a new sibling of an artifact's folder; it takes that place once the block has ended, with `files.json`."""
    with replacing_folder(folder) as partial:
        yield partial
        write_json(partial / FILES, files_of(partial))


@contextmanager
def replacing_folder(folder: Path) -> Generator[Path]:
    """Yield a new, empty sibling of `folder`; what the block puts there takes `folder`'s place, whole or not at all.

    Whatever was in `folder` stays untouched until then, and stays for good if the block fails.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    with disk_errors(folder):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            yield partial
            replace(partial, folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def replace(new: Path, folder: Path) -> None:
    """Put the whole folder `new` where `folder` is. A kill in between leaves `folder` absent, never mixed."""
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def disk_errors(path: Path) -> Generator[None]:
    """Turn 'no space left' into one line that says where."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        raise disk_full(f"while writing {path}") from error


def disk_full(where: str) -> DiskFullError:
    """Return the error to raise where the disk is full."""
    return DiskFullError(f"no space left on the disk {where}; nothing earlier is lost: free some space and run again")


def is_of_full_disk(error: BaseException) -> bool:
    """Return whether an error, or one that it came from, says that the disk is full: each library says it in words
    of its own."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        said = str(current).lower()
        if (isinstance(current, OSError) and current.errno in NO_SPACE) or any(words in said for words in SAID_FULL):
            return True
        current = current.__cause__ or current.__context__
    return False


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Generator[Path]:
    """Yield a new path beside `path`; the file that the block writes there takes its place, whole or not at all.

    Whatever was at `path` stays until then, and stays for good if the block fails. Once the block is left the file
    survives a power cut, unless `durable` is False: for what is written several times a second.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.partial")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            if durable:
                sync(partial)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
        if durable:
            sync(path.parent)


def write_bytes(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write a file whole or not at all."""
    with replacing(path, durable=durable) as partial:
        partial.write_bytes(content)


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Write a text as UTF-8, whole or not at all."""
    write_bytes(path, text.encode(), durable=durable)


def write_json(path: Path, value: object, *, durable: bool = True) -> None:
    """Write JSON whole or not at all; the same value gives the same bytes."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n", durable=durable)


def sync(path: Path) -> None:
    """Have the disk keep a file's bytes, or which files a folder holds."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_json(path: Path) -> Any:
    """Read a JSON file; ArtifactError where it is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtifactError(f"{path} is missing; run the stage that makes it") from error
    except ValueError as error:
        raise ArtifactError(f"{path} is not JSON: {error}") from error
