"""A process, known by its number and its start time: the number alone is used again."""

import signal
import threading
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress

import psutil


def identity(process: psutil.Process | None = None) -> str:
    """Of a process, or of this one."""
    process = process or psutil.Process()
    return f"{process.pid}:{int(process.create_time())}"


def is_alive(known: str) -> bool:
    """Whether the process with this identity is there, and has not ended (one that nobody asked about stays listed)."""
    with suppress(psutil.Error, ValueError):
        process = psutil.Process(int(known.split(":")[0]))
        return identity(process) == known and process.status() != psutil.STATUS_ZOMBIE
    return False


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
