"""Settings of a GAN."""

from typing import Annotated, Literal

from pydantic import Field

from components.params.families.base import FamilySettings
from components.params.section import Positive


class GanSettings(FamilySettings):
    family: Literal["gan"]
    latent_size: Positive
    """The number of random numbers from which the generator makes one sample."""
    generator_sizes: Annotated[tuple[Positive, ...], Field(min_length=1)]
    """The widths of the generator's hidden layers, from the latent to the image."""
    discriminator_sizes: Annotated[tuple[Positive, ...], Field(min_length=1)]
    """The widths of the discriminator's hidden layers, from the image to the verdict."""
    batch_norm: bool
    """True to follow each hidden layer's product in the generator by batch normalisation."""
    dropout: Annotated[float, Field(ge=0, lt=1)]
    """The dropout rate in the discriminator."""
