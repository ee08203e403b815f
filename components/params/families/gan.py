"""Settings of a GAN."""

from typing import Annotated, Literal

from pydantic import Field

from components.params.families.base import FamilySettings
from components.params.section import Positive


class GanSettings(FamilySettings):
    family: Literal["gan"]
    latent_size: Positive
    """The number of random numbers that a sample is made from."""
    generator_sizes: Annotated[tuple[Positive, ...], Field(min_length=1)]
    """The widths of the generator's hidden layers, from the latent to the image."""
    discriminator_sizes: Annotated[tuple[Positive, ...], Field(min_length=1)]
    """The widths of the discriminator's hidden layers, from the image to the verdict."""
    batch_norm: bool
    """Whether batch normalisation follows each hidden layer's product in the generator."""
    dropout: Annotated[float, Field(ge=0, lt=1)]
    """The share of dropout in the discriminator."""
