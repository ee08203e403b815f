"""The weights that a fine-tuning trains: all but some parts, the head, the last layers, or low-rank additions.

Every way trains the head, to which an encoder's pooler belongs. Low-rank additions are LoRA (Hu et al. 2021,
arXiv:2106.09685), by peft, on the attention's queries, keys and values; `merge` adds them to the weights, so that a
plain encoder is saved.
"""

import re
from collections.abc import Callable
from typing import Any

from torch import nn

from components.models.encoder.network import POOLER, EncoderClassifier
from components.params import Full, HeadOnly, LastLayers, Lora
from components.plumbing.errors import InputError, did_you_mean, examples

Way = Full | HeadOnly | LastLayers | Lora

LAYER = re.compile(r"(?:^|\.)(?:layer|layers)\.(\d+)\.")
"""The pattern that finds the number of a layer in a parameter's name, in BERT and most of its descendants."""

ATTENTION = (
    ("query", "key", "value"),  # BERT, RoBERTa, ELECTRA
    ("q_lin", "k_lin", "v_lin"),  # DistilBERT
    ("query_proj", "key_proj", "value_proj"),  # DeBERTa
    ("q_proj", "k_proj", "v_proj"),
    ("q", "k", "v"),  # MPNet
    ("Wqkv",),  # ModernBERT, all three in one product
)


def restrict(model: EncoderClassifier, way: Way) -> None:
    """Let only the weights that `way` trains have gradients; raise InputError where the encoder has no such parts."""
    RESTRICTIONS[way.name](model, way)


def _full(model: EncoderClassifier, way: Full) -> None:
    freeze(model, way.freeze, setting="finetune.way.freeze")


def freeze(model: EncoderClassifier, parts: tuple[str, ...], *, setting: str) -> None:
    """Let all weights of the encoder have gradients but those whose names begin with one of `parts`; raise InputError,
    which names the `setting`, where there is no such part."""
    names = [name for name, _ in model.encoder.named_parameters()]
    for part in parts:
        if not any(name.startswith(part) for name in names):
            known = sorted({name.split(".")[0] for name in names})
            hint = did_you_mean(part, known)
            raise InputError(f"{setting}: no parameter of the encoder begins with '{part}'{hint}; parts: {known}")
    for name, parameter in model.encoder.named_parameters():
        parameter.requires_grad = not name.startswith(parts) if parts else True


def _head(model: EncoderClassifier, way: HeadOnly) -> None:
    del way
    for name, parameter in model.encoder.named_parameters():
        parameter.requires_grad = name.startswith(POOLER)


def _last(model: EncoderClassifier, way: LastLayers) -> None:
    numbers = {name: int(found[1]) for name, _ in model.encoder.named_parameters() if (found := LAYER.search(name))}
    num_layers = max(numbers.values(), default=-1) + 1
    if way.num_layers > num_layers:
        raise InputError(
            f"finetune.way.num_layers is {way.num_layers}, but {num_layers} numbered layers were found in the encoder"
        )
    for name, parameter in model.encoder.named_parameters():
        is_last = numbers.get(name, -1) >= num_layers - way.num_layers
        parameter.requires_grad = is_last or name.startswith(POOLER)


def _lora(model: EncoderClassifier, way: Lora) -> None:
    from peft import LoraConfig, LoraModel

    config = LoraConfig(
        r=way.rank, lora_alpha=way.alpha, lora_dropout=way.dropout, target_modules=attention_of(model.encoder)
    )
    pooler = [parameter for name, parameter in model.encoder.named_parameters() if name.startswith(POOLER)]
    put_encoder(model, LoraModel(model.encoder, config, "default"))
    for parameter in pooler:
        parameter.requires_grad = True


RESTRICTIONS: dict[str, Callable[[EncoderClassifier, Any], None]] = {
    "full": _full,
    "head": _head,
    "last": _last,
    "lora": _lora,
}


def attention_of(encoder: nn.Module) -> list[str]:
    """Return the names of the linear layers that make queries, keys and values.

    Raise InputError where no layer has one of the known names.
    """
    products = [name for name, part in encoder.named_modules() if isinstance(part, nn.Linear)]
    for names in ATTENTION:
        found = [product for product in products if product.rsplit(".", 1)[-1] in names]
        if found:
            return found
    known = sorted({product.rsplit(".", 1)[-1] for product in products})
    raise InputError(
        f"finetune.way 'lora' adds to the attention's products, but none of {type(encoder).__name__} has a name that "
        f"is known ({examples(known)} are there); choose another way"
    )


def merge(model: EncoderClassifier) -> EncoderClassifier:
    """Add a model's low-rank additions to the weights beside them; return the model, or any other one as it is."""
    unload = getattr(model.encoder, "merge_and_unload", None)
    if unload is not None:
        put_encoder(model, unload())
    return model


def put_encoder(model: EncoderClassifier, encoder: nn.Module) -> None:
    """Replace the part of the model below the head by another module."""
    setattr(model.hosted, model.hosted.base_model_prefix, encoder)
