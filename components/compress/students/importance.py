"""How much the answers of a network hang on each of its units and heads.

A unit's importance is |activation x gradient of the loss|, of which the rows' are added up, and a row's tokens before
the absolute value is taken: the change of the loss, to first order, if the unit were left out (Molchanov et al. 2017,
arXiv:1611.06440; Michel, Levy and Neubig 2019, arXiv:1905.10650, for heads).

Legend: B rows of a batch, T tokens of its longest row, I inputs of a product.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from components.objectives.distillation import inputs_of


@dataclass(frozen=True)
class Reader:
    """A linear layer whose inputs are the units that are weighed."""

    product: nn.Linear
    size: int = 1
    """The number of inputs that are one unit: 1, or the width of an attention head."""


def importance(model: nn.Module, readers: Sequence[Reader], batches: Iterable[Any]) -> list[Tensor]:
    """Return the importance of the units that each layer of `readers` reads, by the cross-entropy on labelled rows."""
    seen: dict[int, Tensor] = {}
    hooks = [
        reader.product.register_forward_pre_hook(partial(remember, seen, number))
        for number, reader in enumerate(readers)
    ]
    totals = [torch.zeros(reader.product.in_features // reader.size) for reader in readers]
    try:
        for batch in batches:
            loss = functional.cross_entropy(model(*inputs_of(batch)), batch.label_id, reduction="sum")
            gradients = torch.autograd.grad(loss, [seen[number] for number in range(len(readers))])
            for number, (reader, gradient) in enumerate(zip(readers, gradients, strict=True)):
                moved = seen[number].detach() * gradient  # (B, I), of texts (B, T, I)
                if moved.dim() == 3:
                    moved = moved.sum(dim=1)
                totals[number] += moved.unflatten(1, (-1, reader.size)).sum(dim=2).abs().sum(dim=0)
    finally:
        for hook in hooks:
            hook.remove()
    return totals


def remember(seen: dict[int, Tensor], number: int, product: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Keep what a product reads."""
    del product
    seen[number] = given[0] if given[0].requires_grad else given[0].requires_grad_()
    return (seen[number], *given[1:])
