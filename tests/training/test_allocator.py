import multiprocessing
import resource
from concurrent.futures import ProcessPoolExecutor

import pytest
import torch

from components.training import allocator
from components.training.allocator import kept_pages

SIZE = 16 * 2**20


def new_pages(needed: int | None) -> int:
    """The pages that the kernel hands out for a tensor of 64 MB after one of twice the size was freed: glibc asks for
    some bytes more than it needs, to align them, so that a block does not always fit where one of its size was."""
    with kept_pages(needed):
        torch.zeros(2 * SIZE).fill_(1.0)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.empty(SIZE).fill_(1.0)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(not allocator._is_glibc(), reason="only glibc has the setting")
def test_freed_memory_is_used_again_where_there_is_plenty() -> None:
    # In a process of its own: what other tests left in the heap may stand where the large block would lie.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        kept, unknown, too_large = pool.map(new_pages, (SIZE, None, 2**60))
    assert kept < 100
    assert min(unknown, too_large) > 10 * kept
