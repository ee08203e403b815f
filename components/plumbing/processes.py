"""Processes: how each is known, started, waited for, watched and ended, in one way each.

A process is known by its number and the time of its start, its identity: the number alone is used again.
"""

import ctypes
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil

from components.plumbing.artifacts import NEARLY_FULL_BYTES, disk_full
from components.plumbing.errors import ModelyardError

DRIVER_VARIABLE = "MODELYARD_DRIVER"
"""The environment variable with the identity of the process that drives the stages; what it
starts ends when it is gone."""
SAME_START_S = 2.0
"""The most by which two readings of one start time may differ, in seconds: a clock that is set moves them."""
POLL_S = 0.05
LEFTOVERS_S = 5
"""Seconds that processes have to end once their leader is gone."""
SHOWN_LINES = 5
REFUSAL = "refusing to start: "  # with which a service says its last line
SHELLS = {"sh", "dash", "bash", "ksh", "zsh", "fish"}
PR_SET_PDEATHSIG = 1  # of Linux's prctl: the signal to get when the parent ends


# ---------------------------------------------------------------- known


def identity(process: psutil.Process | None = None) -> str:
    """Return the identity of a process, or of this one: its number and the second in which it began."""
    process = process or psutil.Process()
    return f"{process.pid}:{int(process.create_time())}"


def find(known: str) -> psutil.Process | None:
    """Return the process with this identity, where it is there and has not ended; else None."""
    with suppress(psutil.Error, ValueError):
        number, _, created = known.partition(":")
        process = psutil.Process(int(number))
        if abs(process.create_time() - float(created)) < SAME_START_S and is_running(process):
            return process
    return None


def is_alive(known: str) -> bool:
    """Return whether the process with this identity is there and has not ended."""
    return find(known) is not None


def is_running(process: psutil.Process) -> bool:
    """Return whether a process has not ended; one that ended and that its parent has not reaped yet counts as ended."""
    with suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def began_before(pid: int, moment: float) -> bool:
    """Return whether a process of this number is there, and began before a moment (seconds since 1970): for a number
    that another tool wrote down at that moment, without a start time."""
    with suppress(psutil.Error):
        return psutil.Process(pid).create_time() <= moment
    return False


def age_s() -> float:
    """Return the seconds since this process began, which include the loading of its tools."""
    return time.time() - psutil.Process().create_time()


def family(process: psutil.Process) -> list[psutil.Process]:
    """Return a process and all that it started; empty where it has ended."""
    with suppress(psutil.Error):
        if is_running(process):
            return [process, *process.children(recursive=True)]
    return []


# ---------------------------------------------------------------- started


def start(
    command: Sequence[str], *, folder: Path, log: Path, environment: Mapping[str, str] | None = None
) -> psutil.Popen:
    """Start a process that writes to a new log, in a session of its own, so that Ctrl-C does not reach it.

    Where the thread that calls this ends, even by a kill, the process is asked to end (on Linux). `environment` stands
    in for this process's own.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        return psutil.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True, preexec_fn=end_with_parent(),
        )  # fmt: skip


def start_to_stay(
    command: Sequence[str], *, folder: Path, log: Path, environment: Mapping[str, str] | None = None
) -> psutil.Process:
    """Start a process that outlives this one; its output is added to the log."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True,
        )  # fmt: skip
    known = psutil.Process(process.pid)
    process.returncode = 0  # it is not waited for here, and Popen would warn
    return known


@contextmanager
def started(
    command: Sequence[str], *, folder: Path, log: Path, stop_timeout_s: float,
    environment: Mapping[str, str] | None = None,
) -> Generator[psutil.Popen]:  # fmt: skip
    """Start a process for the block; it is then ended with all that it started, whatever signal comes meanwhile."""
    process = start(command, folder=folder, log=log, environment=environment)
    try:
        yield process
    finally:
        with uninterrupted():
            end([process], timeout_s=stop_timeout_s)


# ---------------------------------------------------------------- waited for


def wait_until_ready(
    process: subprocess.Popen[bytes] | psutil.Popen, health: str, *, name: str, timeout_s: float, log: Path,
    setting: str = "",
) -> None:  # fmt: skip
    """Return once the address `health` answers that all is well.

    ModelyardError, with the last lines of the log, where the process ends or takes longer; `setting` is what the limit
    is called.
    """
    import httpx

    logging.getLogger("httpx").setLevel(logging.WARNING)  # it has a line for every request
    give_up_at = time.monotonic() + timeout_s
    with httpx.Client(timeout=2, trust_env=False) as client:
        while process.poll() is None and time.monotonic() < give_up_at:
            with suppress(httpx.HTTPError):
                if client.get(health).is_success:
                    return
            time.sleep(POLL_S)
    if shutil.disk_usage(log.parent).free < NEARLY_FULL_BYTES:
        raise disk_full(f"of {log.parent}, on which {name} could not start")
    late = f"was not ready after {timeout_s:g} s" + (f" ({setting})" if setting else "")
    if process.poll() is not None and (refusal := last_line(log)).startswith(REFUSAL):
        raise ModelyardError(f"{name} ended, {refusal}")
    raise ModelyardError(f"{name} {late if process.poll() is None else 'ended'}; {last_words(log)}")


def last_words(log: Path) -> str:
    """Return the last lines of a log, for a message."""
    return f"the last lines of {log}:\n{last_lines(log.read_text(encoding='utf-8', errors='replace'))}"


def last_lines(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.strip().splitlines()[-SHOWN_LINES:])


def last_line(log: Path) -> str:
    """Return the last line of a log that is not blank; empty where there is none."""
    with suppress(OSError):
        lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
        return next((line for line in reversed(lines) if line), "")
    return ""


# ---------------------------------------------------------------- watched


def end_with_parent() -> Callable[[], object] | None:
    """Return a function that has a new process asked to end when its parent is gone: on Linux only, elsewhere None.

    It is for Popen's `preexec_fn`.
    """
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)  # loaded before the fork: afterwards little is safe
    return lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def drivers() -> list[str]:
    """Return the identities of the processes that this one works for: of its parent and, where that is a shell with one
    command, of the one behind it; and of the driver that the environment names.

    DVC starts a stage through the user's shell; some shells, like dash, stay between the two. The one that the
    environment names may have ended before this process could ask who its parent is.
    """
    named = os.environ.get(DRIVER_VARIABLE)
    found = [named] if named else []
    with suppress(psutil.Error):  # one ended between two looks
        process = psutil.Process(os.getppid())
        found.append(identity(process))
        while "-c" in process.cmdline()[1:-1] and process.name() in SHELLS:
            process = psutil.Process(process.ppid())
            found.append(identity(process))
    return found


# ---------------------------------------------------------------- ended


def end(
    asked: Sequence[psutil.Process], *, timeout_s: float, kin: Callable[[], list[psutil.Process]] = lambda: []
) -> bool:
    """End processes with all that they started: asked first, killed when they do not end.
    Return whether none was killed.

    They have `timeout_s` to end what they started themselves; what is left then is asked, too. `kin` finds what belongs
    to them where a parent is gone. psutil sends no signal to a number that another process has got meanwhile.
    """
    known = [member for one in asked for member in family(one)]
    for process in asked:
        with suppress(psutil.Error):
            process.terminate()
    wait_until_gone(asked, timeout_s)
    for process in (left := running([*known, *kin()])):
        if process not in asked:
            with suppress(psutil.Error):
                process.terminate()
    wait_until_gone(left, LEFTOVERS_S)
    stubborn = running([*known, *kin()])
    for process in stubborn:
        with suppress(psutil.Error):
            process.kill()
    wait_until_gone(stubborn, LEFTOVERS_S)
    for process in asked:
        if isinstance(process, psutil.Popen):
            process.wait()  # ours to reap
    return not stubborn


def running(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    """Return the processes that have not ended, each once."""
    return [process for process in dict.fromkeys(processes) if is_running(process)]


def wait_until_gone(processes: Sequence[psutil.Process], timeout_s: float) -> None:
    """Return once none of the processes runs, or after `timeout_s`."""
    give_up_at = time.monotonic() + timeout_s
    while any(map(is_running, processes)) and time.monotonic() < give_up_at:
        time.sleep(POLL_S)


@contextmanager
def uninterrupted() -> Generator[None]:
    """Hold Ctrl-C and SIGTERM back until the block is done, and deliver them then; for work that must end whole.

    Only the main thread gets signals, so in another one there is nothing to hold back.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[signal.Signals] = []

    def deliver() -> None:
        for number in dict.fromkeys(came):
            signal.raise_signal(number)

    with ExitStack() as stack:
        stack.callback(deliver)  # last, once the handlers are in place again
        for number in (signal.SIGINT, signal.SIGTERM):
            stack.callback(signal.signal, number, signal.getsignal(number))
            signal.signal(number, lambda number, _frame: came.append(signal.Signals(number)))
        yield
