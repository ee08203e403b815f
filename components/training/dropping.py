"""Masks of dropout, drawn four at a time.

torch draws the numbers of `bernoulli_` on a CPU one after another on a single thread, which takes a third of a step of
a small encoder on two cores. Here one draw of 64 bits decides four numbers.
"""

import warnings
from collections.abc import Generator
from contextlib import contextmanager

import torch
from torch import Tensor

LEVELS = 2**16
"""A probability is rounded to so many parts."""
DRAWS_OF_A_WORD = 4


@contextmanager
def fast_masks() -> Generator[None]:
    """Have `Tensor.bernoulli_`, and with it every dropout on the CPU, draw by `draw` within the block.

    The numbers differ from torch's own, and depend in the same way on torch's random state alone.
    """
    library = torch.library.Library("aten", "IMPL")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*overrid")  # which is what is wanted
            library.impl("bernoulli_.float", draw, "CPU")
        yield
    finally:
        library._destroy()  # pyright: ignore[reportPrivateUsage]  # torch has no other way to end it before the process


def draw(tensor: Tensor, p: float = 0.5, *, generator: torch.Generator | None = None) -> Tensor:
    """Fill a tensor with 1 where a draw of probability `p` succeeds, and 0 elsewhere; return it."""
    if not 0 <= p <= 1:
        raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={p}")
    num_words = -(-tensor.numel() // DRAWS_OF_A_WORD)
    words = torch.empty(num_words, dtype=torch.int64).random_(-(2**63), None, generator=generator)
    draws = words.view(torch.int16)[: tensor.numel()].view(tensor.shape)  # each from -LEVELS / 2 on
    limit = round(p * LEVELS) - LEVELS // 2
    if limit == LEVELS // 2:  # beyond the largest draw
        return tensor.fill_(1)
    return torch.lt(draws, limit, out=tensor)
