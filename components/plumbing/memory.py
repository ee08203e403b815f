"""The memory that is free on this machine."""

import resource
from pathlib import Path

import psutil

GROUPS = Path("/sys/fs/cgroup")
"""The folder in which the kernel tells what a control group, such as a container, may take."""


def fallen_bytes() -> int:
    """Return how much more of this machine's memory this process held at its largest than it holds now."""
    return max(0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - psutil.Process().memory_info().rss)


def free_bytes() -> int:
    """Return the bytes of this machine's memory that are free, as far as its control group may go."""
    free = psutil.virtual_memory().available
    try:
        limit = (GROUPS / "memory.max").read_text(encoding="ascii").strip()
        used = int((GROUPS / "memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):  # no such group
        return free
    return free if limit == "max" else min(free, max(0, int(limit) - used))
