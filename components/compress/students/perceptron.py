"""A student of a multi-layer perceptron: its hidden layers, with fewer units."""

from pathlib import Path

from torch import nn

from components.compress.students.cutting import Cut, chosen, in_factors, narrowed
from components.compress.students.importance import Reader, Scales
from components.models.facts import Facts
from components.models.mlp.network import Perceptron, build
from components.models.storage import FAMILY
from components.params import Shape
from components.params.families.mlp import MlpSettings
from components.plumbing.artifacts import read_json
from components.plumbing.errors import InputError


def shaped(folder: Path, facts: Facts) -> Perceptron:
    """Make a perceptron of the shapes of the one in a folder, with random weights."""
    return build(MlpSettings.model_validate(read_json(folder / FAMILY)["settings"], strict=False), facts)


def cut_of(shape: Shape, model: nn.Module, scales: Scales) -> Cut:
    """Return what a student of this shape keeps; raise InputError for what a perceptron does not have."""
    assert isinstance(model, Perceptron)
    if shape.layers is not None or shape.heads < 1:
        raise InputError(
            "compress.students: a perceptron keeps all of its layers and has no heads; set layers to null and heads "
            "to 1.0 in each shape"
        )
    found = scales.importance(model, [Reader(product) for product in products_of(model)[1:]])
    return Cut(layers=tuple(range(len(found))), units=chosen(found, shape.feed_forward), heads=(), rank=shape.rank)


def carved(model: nn.Module, cut: Cut) -> nn.Module:
    """Cut a perceptron to what a student keeps, in place, and return it."""
    assert isinstance(model, Perceptron)
    units = iter(cut.units)
    before, own = None, None
    for place, part in enumerate(model.hidden):
        if isinstance(part, nn.Linear):
            before, own = own, next(units)
            model.hidden[place] = narrowed(part, inputs=before, outputs=own)
        elif isinstance(part, nn.BatchNorm1d) and own is not None:
            model.hidden[place] = narrowed_norm(part, own)
    model.head = narrowed(model.head, inputs=own)
    if cut.rank is not None:
        products = {str(place): part for place, part in enumerate(model.hidden) if isinstance(part, nn.Linear)}
        in_factors(model.hidden, products, cut.rank)
    return model


def restrict(model: nn.Module, parts: tuple[str, ...], *, setting: str) -> None:
    """Raise InputError where parts are to be frozen: a perceptron has none that could be."""
    del model
    if parts:
        raise InputError(f"{setting} is for parts of an encoder, and this is a perceptron; set it to []")


def num_layers(model: nn.Module) -> int:
    """Return the number of hidden layers."""
    assert isinstance(model, Perceptron)
    return len(products_of(model)) - 1


def products_of(model: Perceptron) -> list[nn.Linear]:
    """Return the linear layers, the head last."""
    return [part for part in [*model.hidden, model.head] if isinstance(part, nn.Linear)]


def narrowed_norm(norm: nn.BatchNorm1d, units: tuple[int, ...]) -> nn.BatchNorm1d:
    """Return the batch normalisation of some of the units."""
    made = nn.BatchNorm1d(len(units), eps=norm.eps, momentum=norm.momentum)
    own = norm.state_dict()
    made.load_state_dict({name: value[list(units)] if value.dim() else value for name, value in own.items()})
    return made.train(norm.training)
