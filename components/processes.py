"""A process, known by its number and its start time: the number alone is used again."""

from contextlib import suppress

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
