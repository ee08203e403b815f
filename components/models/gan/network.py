"""A generator and a discriminator of fully connected layers (Goodfellow et al. 2014).

Leaky ReLU, batch norm in the generator alone and tanh at its end are DCGAN's (Radford et al. 2015).

Legend: B rows of a batch, Z numbers of a latent, N numbers of a row.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import prod

from torch import Tensor, nn

from components.models.facts import Facts
from components.params.families.gan import GanSettings

SLOPE = 0.2  # of the leaky ReLU, as in DCGAN


class Gan(nn.Module):
    """A generator and a discriminator; called as a model, it is its generator."""

    def __init__(self, settings: GanSettings, *, num_values: int) -> None:
        super().__init__()
        self.latent_size = settings.latent_size
        self.generator = nn.Sequential(
            *hidden([settings.latent_size, *settings.generator_sizes], batch_norm=settings.batch_norm, dropout=0.0),
            nn.Linear(settings.generator_sizes[-1], num_values),
            nn.Tanh(),
        )
        self.discriminator = nn.Sequential(
            *hidden([num_values, *settings.discriminator_sizes], batch_norm=False, dropout=settings.dropout),
            nn.Linear(settings.discriminator_sizes[-1], 1),
        )

    def forward(self, latents: Tensor) -> Tensor:
        """Return rows (B, N) in the model's scale, from -1 to 1, for latents (B, Z)."""
        return self.generator(latents)


def hidden(sizes: Sequence[int], *, batch_norm: bool, dropout: float) -> list[nn.Module]:
    """Return the hidden layers between successive sizes: linear, batch norm, leaky ReLU, dropout."""
    layers: list[nn.Module] = []
    for size, next_size in pairwise(sizes):
        layers.append(nn.Linear(size, next_size))
        if batch_norm:
            layers.append(nn.BatchNorm1d(next_size))
        layers.append(nn.LeakyReLU(SLOPE))
        if dropout:
            layers.append(nn.Dropout(dropout))
    return layers


def build(settings: GanSettings, facts: Facts) -> Gan:
    """Make a GAN for rows of the data's shape, with random weights."""
    return Gan(settings, num_values=prod(facts.shape))
