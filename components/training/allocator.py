"""The C library's memory while a training runs.

glibc gives large blocks back to the kernel as they are freed, and a step frees and asks for the same ones again:
each time the kernel hands out pages filled with zeros, on one thread, which is a tenth of a step of a small encoder.
"""

import ctypes
import os
from collections.abc import Generator
from contextlib import contextmanager

from components.plumbing.memory import free_bytes

TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4
"""The numbers of glibc's settings (malloc.h)."""
NEVER = 2**31 - 1
MB = 2**20
# What glibc's own adjustment comes to in a process that frees large blocks.
USUAL = {MMAP_MAX: 65536, MMAP_THRESHOLD: 32 * MB, TRIM_THRESHOLD: 64 * MB}


PLENTY = 2
"""How many times what a training needs is to be free: with pieces left between blocks it takes up to a fifth more."""


@contextmanager
def kept_pages(needed: int | None) -> Generator[None]:
    """Keep the memory that is freed within the block in this process, for what asks next; then give it back.

    Nothing changes where the C library is another one than glibc, or where the bytes that are `needed` at once are not
    known or not free twice over.
    """
    plenty = needed is not None and free_bytes() >= PLENTY * needed
    library = ctypes.CDLL(None) if plenty and _is_glibc() else None
    if library:
        library.mallopt(MMAP_MAX, 0)
        library.mallopt(TRIM_THRESHOLD, NEVER)
    try:
        yield
    finally:
        if library:
            for setting, value in USUAL.items():
                library.mallopt(setting, value)
            library.malloc_trim(0)


def _is_glibc() -> bool:
    try:
        return bool(os.confstr("CS_GNU_LIBC_VERSION"))
    except (AttributeError, OSError, ValueError):
        return False
