"""The parts of a family that makes images from latents; whatever its layers, a model is known by the parts' names.

Legend: B rows of a batch, Z numbers of a latent, N numbers of a row.
"""

from typing import Protocol, cast

from torch import nn

from components.plumbing.errors import InputError


class Generating(Protocol):
    """A model that makes rows (B, N) in its own scale, from -1 to 1, from latents (B, Z)."""

    latent_size: int
    generator: nn.Module
    """The part that makes the rows, which alone is served."""


class Contesting(Generating, Protocol):
    """A generator with a discriminator, which tells generated rows from real ones."""

    discriminator: nn.Module
    """The part that gives rows (B, N) the logit of each being real, (B, 1)."""


def generating(model: nn.Module) -> Generating:
    """Return the model as one that makes images; raise InputError where it makes nothing from latents."""
    if lacks(model, "latent_size", "generator"):
        raise InputError(
            f"the task 'image_generation' needs a model that makes images of latents; {type(model).__name__} does not: "
            "set pretrain.model.family to 'gan'"
        )
    return cast(Generating, model)


def contesting(model: nn.Module, *, family: str) -> Contesting:
    """Return the model as a generator with a discriminator; raise InputError where it lacks one of them."""
    if lacks(model, "latent_size", "generator", "discriminator"):
        raise InputError(
            "pretrain.objective 'adversarial' trains a generator against a discriminator, which the family "
            f"'{family}' has not; set pretrain.model.family to 'gan'"
        )
    return cast(Contesting, model)


def lacks(model: nn.Module, *parts: str) -> bool:
    return not all(hasattr(model, part) for part in parts)
