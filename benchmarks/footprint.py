"""The processor time and the memory of all processes that this one starts, looked at while they run. On Linux alone."""

import ctypes
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil

PR_SET_CHILD_SUBREAPER = 36  # of Linux's prctl: whose parent ends becomes ours, with what it used
LOOK_EVERY_S = 0.2
MEMORY_EVERY = 5
"""Looks for one at the memory, which takes longer."""
LEFT_S = 10


class Footprint:
    """What the processes used that this one started since it was made; one that has ended must not be waited for before
    the last look, or what it used is gone."""

    def __init__(self) -> None:
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
        self.us = psutil.Process()
        self.own: dict[psutil.Process, float] = {}
        self.looks: list[tuple[float, float]] = []
        """The moments (seconds since 1970), and the seconds of the processor until then."""
        self.peak_bytes = 0

    @property
    def cpu_s(self) -> float:
        return self.looks[-1][1]

    def cpu_at(self, moment: float) -> float:
        """Return the seconds of the processor that were used until a moment (seconds since 1970)."""
        moments, used = np.array(self.looks).T
        return float(np.interp(moment, moments, used))

    def look(self) -> None:
        """Two sums, neither of them ever too large: each process with the children that it waited for, which knows
        those that came and went between two looks, and what each process had used when it was last seen, which knows
        those that nobody waits for."""
        waited = 0.0
        for process in self.us.children(recursive=True):
            with suppress(psutil.Error):
                used = process.cpu_times()
                self.own[process] = used.user + used.system
                waited += used.user + used.system + used.children_user + used.children_system
        before = self.cpu_s if self.looks else 0.0
        self.looks.append((time.time(), max(before, waited, sum(self.own.values()))))
        if len(self.looks) % MEMORY_EVERY == 1:
            self.peak_bytes = max(self.peak_bytes, sum(pss_of(one.pid) for one in self.us.children(recursive=True)))

    def watch(self, process: psutil.Popen, *, limit_s: float, also: Callable[[], None] = lambda: None) -> int:
        """Look until a process ends, and end what it left; return its exit status.

        Raise TimeoutError where it takes longer than `limit_s`; all of it is ended then, too.
        """
        began = time.monotonic()
        try:
            while True:
                self.look()
                also()
                if process.status() == psutil.STATUS_ZOMBIE:
                    return process.wait()
                if time.monotonic() - began > limit_s:
                    raise TimeoutError(f"it took more than {limit_s:.0f} s")
                time.sleep(LOOK_EVERY_S)
        finally:
            end_all(self.us)


def end_all(parent: psutil.Process) -> None:
    """End and reap all that a process started."""
    give_up_at = time.monotonic() + LEFT_S
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in parent.children(recursive=True):
            with suppress(psutil.Error):
                process.send_signal(number)
        while parent.children() and time.monotonic() < give_up_at:
            with suppress(ChildProcessError):
                os.waitpid(-1, os.WNOHANG)
            time.sleep(0.02)
        give_up_at += LEFT_S


def pss_of(pid: int) -> int:
    """Return the bytes of memory that a process holds, where shared pages are divided among those who share them; 0
    where it has ended."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss:"):
                return 1024 * int(line.split()[1])
    return 0
