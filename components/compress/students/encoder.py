"""A student of a BERT-like encoder: some of its layers, with fewer feed-forward units and attention heads."""

from copy import deepcopy
from typing import Any

from torch import nn

from components.compress.students.cutting import Cut, Numbers, chosen, in_factors, most_important, narrowed
from components.compress.students.importance import NoScales, Reader, Scales
from components.models.encoder.network import EncoderClassifier
from components.models.encoder.ways import freeze
from components.params import Shape
from components.plumbing.errors import InputError

HEADS = ("attention.self.query", "attention.self.key", "attention.self.value")
MIXED, WIDE, NARROW = "attention.output.dense", "intermediate.dense", "output.dense"
PRODUCTS = (*HEADS, MIXED, WIDE, NARROW)
"""The products of a layer, by the names that BERT gives them and most of its descendants."""


def cut_of(shape: Shape, model: nn.Module, scales: Scales) -> Cut:
    """Return what a student of this shape keeps; raise InputError where the encoder has no such parts."""
    assert isinstance(model, EncoderClassifier)
    layers = layers_of(model)
    if shape.layers is not None and shape.layers > len(layers):
        raise InputError(
            f"compress.students: a shape has {shape.layers} layers, and the fine-tuned encoder {len(layers)}; set "
            "layers to as many or fewer"
        )
    kept = least_missed(model, shape.layers or len(layers), scales)
    shorter = keep_layers(deepcopy(model), kept)
    size, readers = head_size(layers[0]), [Reader(product_of(layer, NARROW)) for layer in layers_of(shorter)]
    readers += [Reader(product_of(layer, MIXED), size) for layer in layers_of(shorter)]
    is_whole = shape.feed_forward == shape.heads == 1  # then there is nothing to weigh
    found = (NoScales() if is_whole else scales).importance(shorter, readers)
    units, heads = found[: len(kept)], found[len(kept) :]
    num_heads = max(1, round(shape.heads * len(heads[0])))
    return Cut(
        layers=kept,
        units=chosen(units, shape.feed_forward),
        heads=tuple(most_important(one, num_heads) for one in heads),
        rank=shape.rank,
    )


def least_missed(model: EncoderClassifier, num_kept: int, scales: Scales) -> Numbers:
    """Return the numbers of the layers that are kept: one after another goes the layer without which the encoder
    answers most as the whole one does."""
    kept = tuple(range(len(layers_of(model))))
    while len(kept) > num_kept:
        shorter = [(*kept[:place], *kept[place + 1 :]) for place in range(len(kept))]
        kept = min(shorter, key=lambda one: scales.distance(keep_layers(deepcopy(model), one)))
    return kept


def carved(model: nn.Module, cut: Cut) -> nn.Module:
    """Cut an encoder to what a student keeps, in place, and return it."""
    assert isinstance(model, EncoderClassifier)
    keep_layers(model, cut.layers)
    for layer, units, heads in zip(layers_of(model), cut.units, cut.heads, strict=True):
        width = head_size(layer)
        places = [head * width + place for head in heads for place in range(width)]
        for name in HEADS:
            layer.set_submodule(name, narrowed(product_of(layer, name), outputs=places))
        layer.set_submodule(MIXED, narrowed(product_of(layer, MIXED), inputs=places))
        layer.set_submodule(WIDE, narrowed(product_of(layer, WIDE), outputs=units))
        layer.set_submodule(NARROW, narrowed(product_of(layer, NARROW), inputs=units))
        attention: Any = layer.get_submodule("attention.self")
        attention.num_attention_heads, attention.all_head_size = len(heads), len(places)
    if cut.rank is not None:
        numbered = list(enumerate(layers_of(model)))
        products = {f"{number}.{name}": product_of(layer, name) for number, layer in numbered for name in PRODUCTS}
        in_factors(layers_of(model), products, cut.rank)
    return model


def restrict(model: nn.Module, parts: tuple[str, ...], *, setting: str) -> None:
    """Let the parts of the encoder whose names begin so have no gradients."""
    assert isinstance(model, EncoderClassifier)
    freeze(model, parts, setting=setting)


def layers_of(model: EncoderClassifier) -> nn.ModuleList:
    """Return the layers; raise InputError where they are not made of the parts that can be cut."""
    layers = getattr(getattr(model.encoder, "encoder", None), "layer", None)
    has = {name for name, _ in layers[0].named_modules()} if isinstance(layers, nn.ModuleList) else set[str]()
    lacking = [name for name in PRODUCTS if name not in has]
    if lacking or not isinstance(layers, nn.ModuleList):
        raise InputError(
            f"compress.students cuts encoders with the parts of BERT's, and {type(model.hosted).__name__} has no "
            f"{lacking[0]} in its layers; leave out compress.students"
        )
    return layers


def num_layers(model: nn.Module) -> int:
    """Return the number of layers; raise InputError where they are not made of the parts that can be cut."""
    assert isinstance(model, EncoderClassifier)
    return len(layers_of(model))


def product_of(layer: nn.Module, name: str) -> nn.Linear:
    """Return a product of a layer by its name."""
    found = layer.get_submodule(name)
    assert isinstance(found, nn.Linear)
    return found


def keep_layers(model: EncoderClassifier, kept: Numbers) -> EncoderClassifier:
    """Leave an encoder only the layers of these numbers, in place, and return it."""
    encoder: Any = model.encoder
    encoder.encoder.layer = nn.ModuleList([layers_of(model)[number] for number in kept])
    encoder.config.num_hidden_layers = len(kept)
    return model


def head_size(layer: nn.Module) -> int:
    """Return the width of an attention head."""
    attention: Any = layer.get_submodule("attention.self")
    return int(attention.attention_head_size)
