"""A server that we start: for a block, ended whole with Ctrl-C.

Each is a process group of its own, so that Ctrl-C reaches it once: from here.
"""

import os
import signal
import subprocess
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import click
import psutil

from components.package.bento import STOP_TIMEOUT_S
from components.plumbing.errors import ModelyardError
from components.plumbing.processes import last_words, started, wait_until_ready

READY_TIMEOUT_S = 120
POLL_S = 0.2
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Server:
    """The description of a server that we start: its command, log and address."""

    name: str
    command: Sequence[str]
    health: str
    """An address that answers 200 once the server is ready."""
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    """The variables that its environment has beside this process's own."""


@contextmanager
def running(root: Path, server: Server) -> Generator[psutil.Popen]:
    """Start a server, and yield its process once it is ready; it is ended with the block."""
    with starting(root, server) as process:
        wait_for(server, process)
        yield process


@contextmanager
def starting(root: Path, server: Server) -> Generator[psutil.Popen]:
    """Start a server, and yield its process at once; at the end of the block it is ended, with all that it started."""
    environment = {**os.environ, **server.environment}
    with started(
        server.command, folder=root, log=server.log, environment=environment, stop_timeout_s=STOP_TIMEOUT_S
    ) as process:
        yield process


def wait_for(server: Server, process: subprocess.Popen[bytes] | psutil.Popen) -> None:
    """Return when the server answers; ModelyardError with the last lines of its log where it ends or stays silent."""
    wait_until_ready(process, server.health, name=server.name, timeout_s=READY_TIMEOUT_S, log=server.log)


def wait_for_any(servers: list[tuple[Server, psutil.Popen]]) -> None:
    """Watch the servers and never return; ModelyardError when one ends of itself."""
    while True:
        for server, process in servers:
            if process.poll() is not None:
                raise ModelyardError(f"{server.name} ended; {last_words(server.log)}")
        time.sleep(POLL_S)


@contextmanager
def until_interrupted() -> Generator[None]:
    """Leave the block without an error on Ctrl-C, on SIGTERM, and when the terminal is closed."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in ENDINGS}
    try:
        yield
    except KeyboardInterrupt:
        click.echo("ended", err=True)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
