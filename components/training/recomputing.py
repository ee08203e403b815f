"""Activation checkpointing: of each layer only the input is kept, and the backward pass computes the rest again.

What a layer computes the second time is the same, bit for bit, dropout included, since torch puts its random state back
for it (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost").
"""

from typing import Any

from torch import nn

from components.plumbing.errors import InputError


def recompute_activations(model: nn.Module, *, stage: str) -> None:
    """Have the layers of a model's Transformer computed again in the backward pass, as transformers does it.

    Raise InputError where the model has no such layers.
    """
    for part in model.modules():
        if getattr(part, "supports_gradient_checkpointing", False):
            hosted: Any = part
            # Older releases of transformers call it gradient_checkpointing_enable.
            enable = getattr(hosted, "activation_checkpointing_enable", None) or hosted.gradient_checkpointing_enable
            enable({"use_reentrant": False})
            hosted.disable_input_require_grads()  # which only the reentrant way needs; frozen parts stay frozen
            return
    raise InputError(
        f"{stage}.activation_checkpointing is for networks of transformers that support it, and "
        f"{type(getattr(model, 'hosted', model)).__name__} does not; leave it out, and set {stage}.micro_batch_size"
    )
