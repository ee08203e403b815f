"""The parts of a network that a student keeps, and linear layers that are cut to them.

Legend: I inputs and O outputs of a product, R the rank of a product that is kept as two.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from components.plumbing.errors import InputError

UNITS_STEP = 16
"""Units are kept in multiples of so many, as many as the int8 instructions of a processor take at once."""

Numbers = tuple[int, ...]


@dataclass(frozen=True)
class Cut:
    """The parts of a network that a student keeps, by their numbers from 0 on."""

    layers: Numbers
    units: tuple[Numbers, ...]
    """The feed-forward or hidden units of each kept layer."""
    heads: tuple[Numbers, ...]
    """The attention heads of each kept layer; empty where there are none."""
    rank: float | None
    """The share of its full rank that a product keeps; None leaves products whole."""


def narrowed(
    product: nn.Linear, *, inputs: Sequence[int] | None = None, outputs: Sequence[int] | None = None
) -> nn.Linear:
    """Return a linear layer with some of the inputs and outputs of another; None keeps all of them."""
    weight, bias = product.weight.detach(), product.bias.detach()  # (O, I), (O,)
    if outputs is not None:
        weight, bias = weight[list(outputs)], bias[list(outputs)]
    if inputs is not None:
        weight = weight[:, list(inputs)]
    return linear(weight, bias)


def linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """Return a linear layer of these weights (O, I), which draws nothing from the random state."""
    made = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    made.weight = nn.Parameter(weight.clone())
    if bias is not None:
        made.bias = nn.Parameter(bias.clone())
    return made


def factored(product: nn.Linear, rank: int) -> nn.Sequential:
    """Return the product of rank R that is nearest to a linear layer, as two layers of R numbers in between.

    By the singular value decomposition, of which each of the two takes the root of the singular values (Eckart and
    Young 1936).
    """
    left, values, right = torch.linalg.svd(product.weight.detach(), full_matrices=False)
    roots = values[:rank].sqrt()  # (R,)
    first, second = roots[:, None] * right[:rank], left[:, :rank] * roots  # (R, I), (O, R)
    return nn.Sequential(linear(first, None), linear(second, product.bias.detach()))


def in_factors(parent: nn.Module, products: Mapping[str, nn.Linear], share: float) -> None:
    """Keep the products of a network, given by their names below `parent`, as two of a share of their full rank.

    A product stays where two would take as many weights. Raise InputError where all of them would.
    """
    made: dict[str, nn.Module] = {}
    for name, product in products.items():
        num_out, num_in = product.weight.shape
        rank = max(1, round(share * min(num_out, num_in)))
        if rank * (num_out + num_in) < num_out * num_in:
            made[name] = factored(product, rank)
    if not made:
        raise InputError(
            f"compress.students: at a rank of {share:g} two products take as many weights as one, everywhere in this "
            "network; set rank lower, or to null"
        )
    for name, two in made.items():
        parent.set_submodule(name, two)


def chosen(importance: Sequence[Tensor], share: float, *, step: int = UNITS_STEP) -> tuple[Numbers, ...]:
    """Return the units of each layer that are kept, of those of all layers together the most important.

    A layer keeps a multiple of `step` units, and at least one step, or all of its own. Of units of like importance the
    first stay.
    """
    if share == 1:
        return tuple(tuple(range(len(one))) for one in importance)
    together = torch.cat(list(importance))
    order = together.argsort(descending=True, stable=True)[: round(share * len(together))]
    is_kept = torch.zeros(len(together), dtype=torch.bool)
    is_kept[order] = True
    counts = [int(part.sum()) for part in is_kept.split([len(one) for one in importance])]
    return tuple(
        most_important(one, min(len(one), max(step, round(count / step) * step)))
        for one, count in zip(importance, counts, strict=True)
    )


def most_important(importance: Tensor, number: int) -> Numbers:
    """Return the numbers of the most important units of a layer, in their order."""
    return tuple(sorted(importance.argsort(descending=True, stable=True)[:number].tolist()))
