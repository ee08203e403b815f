import pytest
import torch
from torch import nn

from components.models.generating import contesting, generating
from components.plumbing.errors import InputError


class Decoder(nn.Module):
    """Makes rows of latents, of a family that has no discriminator."""

    def __init__(self) -> None:
        super().__init__()
        self.latent_size = 3
        self.generator = nn.Linear(3, 4)


def test_a_generator_is_known_by_its_parts() -> None:
    assert generating(Decoder()).generator(torch.zeros(2, 3)).shape == (2, 4)
    with pytest.raises(InputError, match=r"needs a model that makes images of latents; Linear does not: set pretrain"):
        generating(nn.Linear(3, 4))


def test_an_adversarial_training_needs_both_players() -> None:
    model = Decoder()
    with pytest.raises(InputError, match=r"trains a generator against a discriminator, which the family 'vae' has not"):
        contesting(model, family="vae")
    model.discriminator = nn.Linear(4, 1)
    assert contesting(model, family="vae").discriminator is model.discriminator
