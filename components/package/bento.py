"""Builds a Bento in BentoML's store from a bundle, and runs a server that answers with it.

BentoML runs in processes of its own: it imports the bundle's `serving`, which must not be taken for ours.
"""

import logging
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom
from tempfile import TemporaryDirectory

import psutil

from components.plumbing.artifacts import read_json
from components.plumbing.errors import ArtifactError, BusyError, ModelyardError
from components.plumbing.processes import end, family, last_lines, start, uninterrupted, wait_until_ready
from serving.bundle import (
    BENTO,
    BYTECODE,
    MANIFEST,
    PROVENANCE,
    SOURCES,
    BundleError,
    BundleId,
    identify,
    load_about,
    verify_bento,
)  # fmt: skip
from serving.requests.keys import VARIABLE

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"
STOP_TIMEOUT_S = 10
PORTS = range(15_000, 32_000)  # below what Linux, macOS and Windows give to clients
NUM_TRIES = 100


@dataclass(frozen=True)
class Served:
    """A server of a Bento that answers."""

    url: str
    ready_s: float
    """The seconds from the start of its process to its first healthy answer."""
    rss_bytes: int
    """The resident memory, in bytes, of the server and its workers once it is ready."""


def tag_of(bundle: Path) -> str:
    """Return the tag of a bundle's Bento, `<recipe>:<version>-<build>` with the first 12 digits of both digests;
    ArtifactError where the folder is no bundle."""
    if not (bundle / MANIFEST).is_file():
        raise ArtifactError(f"{bundle} is not a bundle (no {MANIFEST}); run the stage 'package'")
    return f"{load_about(bundle).name}:{identify(bundle).label}"


def build_bento(bundle: Path, provenance: Path | None) -> str:
    """Build the Bento of a bundle in BentoML's store, and return its tag. The provenance goes into it where the file is
    of this bundle.

    A Bento that is there stays as it is, unless it has another provenance or is not what was built; it is then built
    anew. ModelyardError where BentoML fails.
    """
    tag = tag_of(bundle)
    stored = bento_folder(tag)
    given = provenance if provenance is not None and is_of(tag, provenance) else None
    if (stored / BENTO).is_file():
        if fault := fault_of_bento(tag, identify(bundle)):
            logger.warning("%s in BentoML's store is not what was packaged, and is built again: %s", tag, fault)
        elif given is None or is_same(stored / SOURCES / PROVENANCE, given):
            return tag
    shutil.rmtree(stored, ignore_errors=True)
    with TemporaryDirectory(prefix="modelyard-bento-") as scratch:
        context = Path(scratch) / "bundle"
        shutil.copytree(bundle, context)
        if given is not None:
            shutil.copyfile(given, context / PROVENANCE)
        command = bentoml_command("build", "--version", tag.partition(":")[2], "--output", "tag", str(context))
        done = subprocess.run(command, cwd=scratch, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0 or not stored.is_dir():
        raise ModelyardError(f"BentoML cannot build {tag}; it says:\n{last_lines(done.stdout + done.stderr)}")
    return tag


def fault_of_bento(tag: str, identity: BundleId) -> str | None:
    """Return why a Bento of BentoML's store is not the one of the bundle with these digests; None where it is.

    The bytecode that Python keeps beside its code is removed: it would be run, and no digest is of it.
    """
    stored = bento_folder(tag)
    for bytecode in [*stored.rglob(BYTECODE)]:
        shutil.rmtree(bytecode, ignore_errors=True)
    try:
        verify_bento(stored / SOURCES)
        known = identify(stored / SOURCES)
    except BundleError as error:
        return str(error)
    return None if known == identity else f"its digests are those of {known.label}"


def remove_bento(tag: str) -> None:
    """Remove a Bento from BentoML's store."""
    shutil.rmtree(bento_folder(tag), ignore_errors=True)


def bento_folder(tag: str) -> Path:
    """Return the folder in which BentoML's store keeps a Bento."""
    home = Path(os.environ.get("BENTOML_HOME") or Path.home() / "bentoml")
    name, _, version = tag.partition(":")
    return home / "bentos" / name / version


def is_of(tag: str, provenance: Path) -> bool:
    """Return whether the provenance is of this Bento: a later run, or one whose gate failed, leaves another."""
    return provenance.is_file() and read_json(provenance).get("tag") == tag


def is_same(one: Path, other: Path) -> bool:
    """Return whether both files are there, with the same bytes."""
    return one.is_file() and other.is_file() and one.read_bytes() == other.read_bytes()


def serve_command(tag: str, host: str, port: int) -> list[str]:
    """Return the words of the command that serves a Bento until SIGTERM or Ctrl-C."""
    return bentoml_command("serve", tag, "--host", host, "--port", str(port))


def bentoml_command(*words: str) -> list[str]:
    # -P: the current folder may hold a 'serving' of its own
    return [sys.executable, "-P", "-m", "bentoml", *words]


@contextmanager
def serving(tag: str, *, ready_timeout_s: float, log: Path) -> Generator[Served]:
    """Serve a Bento on a free port of 127.0.0.1 for the block, and stop it then with every process that it started.

    ModelyardError where it does not get ready, or does not stop when it is asked to.
    """
    port = free_port()
    began = time.monotonic()
    process = start(serve_command(tag, HOST, port), folder=log.parent, log=log, environment=without_keys())
    try:
        wait_until_ready(
            process, f"http://{HOST}:{port}/readyz", name=f"the server of {tag}", timeout_s=ready_timeout_s, log=log,
            setting="ready_timeout_s",
        )  # fmt: skip
        ready_s = time.monotonic() - began
        yield Served(f"http://{HOST}:{port}", ready_s, sum(member.memory_info().rss for member in family(process)))
    except BaseException:
        stop(process)
        raise
    if not stop(process):
        raise ModelyardError(f"{tag} did not stop within {STOP_TIMEOUT_S} s of SIGTERM; its log is {log}")


def stop(process: psutil.Process) -> bool:
    """End a server and its workers, which are in process groups of their own; return whether all ended when asked."""
    with uninterrupted():
        return end([process], timeout_s=STOP_TIMEOUT_S)


def without_keys() -> dict[str, str]:
    """Return the environment of a server that only this process asks: it wants no key, whoever else has one."""
    return {name: value for name, value in os.environ.items() if name != VARIABLE}


def free_port() -> int:
    """Return a port of 127.0.0.1 that is free now; BusyError where none is found.

    It is none of those that the kernel gives to clients, one of which might have it before the server does.
    """
    for port in SystemRandom().sample(PORTS, NUM_TRIES):
        with socket.socket() as probe, suppress(OSError):
            probe.bind((HOST, port))
            return port
    raise BusyError(f"{NUM_TRIES} ports of {HOST} between {PORTS.start} and {PORTS.stop} are in use")
