"""What a family that makes images of latents gives, whatever its layers: it is asked by the names of its parts.

Legend: B rows of a batch, Z numbers of a latent, N numbers of a row.
"""

from typing import Protocol, cast

from torch import nn

from components.plumbing.errors import InputError


class Generating(Protocol):
    """A model that makes rows of latents: latents (B, Z) → rows (B, N) in the model's scale, from -1 to 1."""

    latent_size: int
    generator: nn.Module
    """The part that does it, and all that is served."""


class Contesting(Generating, Protocol):
    """One with a part that tells its rows from real ones."""

    discriminator: nn.Module
    """Rows (B, N) → the logit of each being real, (B, 1)."""


def generating(model: nn.Module) -> Generating:
    """The model as one that makes images. InputError where it makes nothing of latents."""
    if lacks(model, "latent_size", "generator"):
        raise InputError(
            f"the task 'image_generation' needs a model that makes images of latents; {type(model).__name__} does not: "
            "set pretrain.model.family to 'gan'"
        )
    return cast(Generating, model)


def contesting(model: nn.Module, *, family: str) -> Contesting:
    """The model as a generator against a discriminator. InputError where it has not both."""
    if lacks(model, "latent_size", "generator", "discriminator"):
        raise InputError(
            "pretrain.objective 'adversarial' trains a generator against a discriminator, which the family "
            f"'{family}' has not; set pretrain.model.family to 'gan'"
        )
    return cast(Contesting, model)


def lacks(model: nn.Module, *parts: str) -> bool:
    return not all(hasattr(model, part) for part in parts)
