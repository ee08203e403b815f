"""Processes that tests start, or look for; none outlives its block, whatever becomes of the test."""

import os
import signal
import subprocess
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil

from components.plumbing.processes import family
from flows.servers.server import Server, wait_for
from tests.patience import PATIENCE_S, wait_until
from tests.projects import environment


@contextmanager
def at_work(command: list[str], folder: Path, **extra: str) -> Generator[subprocess.Popen[str]]:
    """A command in the background, with what it says on one pipe."""
    with subprocess.Popen(
        command, cwd=folder, env=environment(**extra), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            # Not the group alone: the worker of a pool gives each of its runs a session of its own.
            for member in family(psutil.Process(process.pid)) if process.poll() is None else []:
                with suppress(psutil.NoSuchProcess):
                    member.kill()
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def answering(*servers: Server, **extra: str) -> Generator[None]:
    """Servers that answer; at the end they are killed, with no time to say anything."""
    with ExitStack() as stack:
        for server in servers:
            server.log.parent.mkdir(parents=True, exist_ok=True)
            log = stack.enter_context(server.log.open("ab"))
            process = subprocess.Popen(
                server.command, env=environment(**extra, **server.environment), stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
            stack.callback(kill, process)
            wait_for(server, process)
        yield


def kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def stage_process(stage: str, folder: Path, *, within_s: float = 2 * PATIENCE_S) -> psutil.Process:
    """The process of a running stage, once it is there."""

    def found() -> psutil.Process | None:
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                words = process.cmdline()
                if words[1:4] == ["-m", "components", stage] and process.cwd() == str(folder):
                    return process
        return None

    process = wait_until(found, lambda: f"{stage} never started", within_s=within_s)
    assert process is not None
    return process
