"""From a bundle to a Bento in BentoML's store, and to a server that answers with it.

BentoML runs in processes of its own: it imports the bundle's `serving`, which must not be taken for ours.
"""

import ctypes
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom
from tempfile import TemporaryDirectory

import httpx
import psutil

from components.artifacts import read_json, sha256_of
from components.errors import ArtifactError, BusyError, ModelyardError
from components.processes import uninterrupted
from serving.bundle import MANIFEST, PROVENANCE, load_about
from serving.keys import VARIABLE

HOST = "127.0.0.1"
POLL_S = 0.05
STOP_TIMEOUT_S = 10
SHOWN_LINES = 5
PORTS = range(15_000, 32_000)  # below what Linux, macOS and Windows give to clients
NUM_TRIES = 100
PR_SET_PDEATHSIG = 1  # of Linux's prctl: the signal to get when the parent ends


@dataclass(frozen=True)
class Served:
    """A server that is ready."""

    url: str
    ready_s: float
    """From its start to its first healthy answer."""
    rss_bytes: int
    """Memory of the server and its workers once ready."""


def tag_of(bundle: Path) -> str:
    """`<recipe>:<first 12 of the digest>`, which is the sha256 of the manifest, since that names every other file's."""
    if not (bundle / MANIFEST).is_file():
        raise ArtifactError(f"{bundle} is not a bundle (no {MANIFEST}); run the stage 'package'")
    return f"{load_about(bundle).name}:{sha256_of(bundle / MANIFEST)[:12]}"


def build_bento(bundle: Path, provenance: Path | None) -> str:
    """Make a bundle a Bento in BentoML's store, with the provenance where it is this bundle's; gives its tag.

    One that is there already is left as it is, unless it has another provenance. ModelyardError where BentoML fails.
    """
    tag = tag_of(bundle)
    stored = bento_folder(tag)
    given = provenance if provenance is not None and is_of(tag, provenance) else None
    if (stored / "bento.yaml").is_file() and (given is None or is_same(stored / "src" / PROVENANCE, given)):
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


def remove_bento(tag: str) -> None:
    """Take a Bento out of BentoML's store."""
    shutil.rmtree(bento_folder(tag), ignore_errors=True)


def bento_folder(tag: str) -> Path:
    """Where BentoML's store keeps a Bento."""
    home = Path(os.environ.get("BENTOML_HOME") or Path.home() / "bentoml")
    name, _, version = tag.partition(":")
    return home / "bentos" / name / version


def is_of(tag: str, provenance: Path) -> bool:
    """Whether the file is there and of this Bento: a later run, or one whose gate failed, leaves another's."""
    return provenance.is_file() and read_json(provenance).get("tag") == tag


def is_same(one: Path, other: Path) -> bool:
    """Whether both files are there, with the same bytes."""
    return one.is_file() and other.is_file() and one.read_bytes() == other.read_bytes()


def serve_command(tag: str, host: str, port: int) -> list[str]:
    """The command that serves a Bento until SIGTERM or Ctrl-C."""
    return bentoml_command("serve", tag, "--host", host, "--port", str(port))


def bentoml_command(*words: str) -> list[str]:
    # -P: the current folder may hold a 'serving' of its own
    return [sys.executable, "-P", "-m", "bentoml", *words]


@contextmanager
def serving(tag: str, *, ready_timeout_s: float, log: Path) -> Generator[Served]:
    """Serve a Bento on a free port of this machine for the block; it is stopped with all that it started.

    ModelyardError where it does not get ready, or does not stop when it is asked to.
    """
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it has a line for every request
    port = free_port()
    with log.open("wb") as output:
        process = subprocess.Popen(
            serve_command(tag, HOST, port), cwd=log.parent, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True, preexec_fn=end_with_parent(), env=without_keys(),
        )  # fmt: skip
    try:
        yield wait_until_ready(process, f"http://{HOST}:{port}", tag, ready_timeout_s=ready_timeout_s, log=log)
    except BaseException:
        stop(process)
        raise
    if not stop(process):
        raise ModelyardError(f"{tag} did not stop within {STOP_TIMEOUT_S} s of SIGTERM; its log is {log}")


def without_keys() -> dict[str, str]:
    """The environment of a server that only we ask: it wants no key of us, whoever else has one."""
    return {name: value for name, value in os.environ.items() if name != VARIABLE}


def free_port() -> int:
    """A port of this machine that is free now: none of those that the kernel gives to clients, one of which might have
    it before the server does."""
    for port in SystemRandom().sample(PORTS, NUM_TRIES):
        with socket.socket() as probe, suppress(OSError):
            probe.bind((HOST, port))
            return port
    raise BusyError(f"{NUM_TRIES} ports of {HOST} between {PORTS.start} and {PORTS.stop} are in use")


def end_with_parent() -> Callable[[], object] | None:
    """What the new process does first, so that a killed stage leaves no server: Linux only, elsewhere nothing."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)  # loaded before the fork: afterwards little is safe
    return lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def wait_until_ready(
    process: subprocess.Popen[bytes], url: str, tag: str, *, ready_timeout_s: float, log: Path
) -> Served:
    """Return once the server answers that it is ready; ModelyardError where it ends, or takes too long."""
    started = time.monotonic()
    while process.poll() is None and time.monotonic() - started < ready_timeout_s:
        with suppress(httpx.HTTPError):
            if httpx.get(f"{url}/readyz", timeout=1).is_success:
                ready_s = time.monotonic() - started
                return Served(url, ready_s, sum(member.memory_info().rss for member in family(process.pid)))
        time.sleep(POLL_S)
    happened = "ended" if process.poll() is not None else f"was not ready after {ready_timeout_s:g} s (ready_timeout_s)"
    lines = last_lines(log.read_text(encoding="utf-8", errors="replace"))
    raise ModelyardError(f"the server of {tag} {happened}; the last lines of {log}:\n{lines}")


def stop(process: subprocess.Popen[bytes]) -> bool:
    """End a server, asked first and killed when it does not; gives whether all of it ended when asked.

    Its workers are in process groups of their own, so what is left of them is ended one by one.
    """
    members = family(process.pid)
    with uninterrupted():
        process.terminate()
        _, alive = psutil.wait_procs(members, timeout=STOP_TIMEOUT_S)
        for member in alive:
            with suppress(psutil.NoSuchProcess):
                member.kill()
        process.wait()
    return not alive


def family(pid: int) -> list[psutil.Process]:
    """A process and all that it started."""
    with suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    return []


def last_lines(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.strip().splitlines()[-SHOWN_LINES:])
