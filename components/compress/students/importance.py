"""The importance of a network's units, heads and layers: how much its answers depend on each.

A unit's importance is |activation x gradient of the loss|, of which the rows' are added up, and a row's tokens before
the absolute value is taken: the change of the loss, to first order, if the unit were left out (Molchanov et al. 2017,
arXiv:1611.06440; Michel, Levy and Neubig 2019, arXiv:1905.10650, for heads). Layers are too few and too large for that,
so networks without them are run, and the divergence from the answers of the whole one is measured.

Legend: B rows of a batch, T tokens of its longest row, I inputs of a product.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

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

    @property
    def num_units(self) -> int:
        return self.product.in_features // self.size


class Scales(Protocol):
    """A way to tell the important parts of a network from the others."""

    def importance(self, model: nn.Module, readers: Sequence[Reader]) -> list[Tensor]:
        """Return the importance of the units that each layer of `readers` reads."""
        ...

    def distance(self, model: nn.Module) -> float:
        """Return how far a network's answers lie from those of the whole one."""
        ...


class NoScales:
    """Scales for networks that are only timed: of each layer the first parts weigh the most."""

    def importance(self, model: nn.Module, readers: Sequence[Reader]) -> list[Tensor]:
        del model
        return [-torch.arange(float(reader.num_units)) for reader in readers]

    def distance(self, model: nn.Module) -> float:
        del model
        return 0.0


class RowScales:
    """Scales that let networks answer labelled rows."""

    def __init__(self, whole: nn.Module, batches: Sequence[Any]) -> None:
        self.batches = batches
        self.wanted = [answers(whole, batch) for batch in batches]

    def importance(self, model: nn.Module, readers: Sequence[Reader]) -> list[Tensor]:
        """Return the importance of the units by the cross-entropy on the rows' labels."""
        seen: dict[int, Tensor] = {}
        hooks = [
            reader.product.register_forward_pre_hook(partial(remember, seen, number))
            for number, reader in enumerate(readers)
        ]
        totals = [torch.zeros(reader.num_units) for reader in readers]
        try:
            for batch in self.batches:
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

    def distance(self, model: nn.Module) -> float:
        """Return the sum over the rows of the Kullback-Leibler divergence from the answers of the whole network."""
        found = [
            functional.kl_div(answers(model, batch), wanted, log_target=True, reduction="sum")
            for batch, wanted in zip(self.batches, self.wanted, strict=True)
        ]
        return float(torch.stack(found).sum())


@torch.inference_mode()
def answers(model: nn.Module, batch: Any) -> Tensor:
    """Return the logarithms of the probabilities that a network gives to each label of each row, (B, K)."""
    return functional.log_softmax(model(*inputs_of(batch)), dim=-1)


def remember(seen: dict[int, Tensor], number: int, product: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Keep what a product reads."""
    del product
    seen[number] = given[0] if given[0].requires_grad else given[0].requires_grad_()
    return (seen[number], *given[1:])
