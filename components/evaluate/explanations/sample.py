"""The rows that are explained, and the weights that are not the model's own: a model whose weights say nothing."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from components.params import Explain

Row = TypeVar("Row")


def sampled(num_rows: int, settings: Explain) -> list[int]:
    """Return the numbers of a seeded sample of the rows, in order; all of them where there are no more."""
    random = np.random.default_rng(settings.seed)
    chosen: NDArray[np.int64] = random.permutation(num_rows)[: settings.rows]
    return sorted(chosen.tolist())


def spread(rows: Sequence[Row], *, most: int) -> list[Row]:
    """Return at most `most` of the rows, evenly from first to last."""
    return list(rows[:: max(1, -(-len(rows) // most))])


def shuffled(model: nn.Module, *, seed: int) -> nn.Module:
    """Put the values of each of a model's weight tensors in a random order, in place, and return the model.

    It has the architecture of the model and the sizes of its weights, but nothing of what it learned; what explains
    both alike explains neither (Adebayo et al. 2018, arXiv:1810.03292, who draw the weights anew).
    """
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            order = torch.randperm(weight.numel(), generator=random)
            weight.copy_(weight.flatten()[order].reshape(weight.shape))
    return model
