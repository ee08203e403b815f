from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import nn

from components.models.facts import Facts
from components.models.gan.network import Gan, build
from components.models.storage import load, save
from components.params.families.gan import GanSettings

LARGE = GanSettings(
    family="gan", latent_size=100, generator_sizes=(128, 256, 512, 1024), discriminator_sizes=(1024, 512, 256),
    batch_norm=False, dropout=0.3,
)  # fmt: skip
SMALL = GanSettings(
    family="gan", latent_size=3, generator_sizes=(8,), discriminator_sizes=(8, 4), batch_norm=True, dropout=0.0
)


@pytest.mark.parametrize(
    ("part", "sizes"),
    [("generator", [100, 128, 256, 512, 1024, 784]), ("discriminator", [784, 1024, 512, 256, 1])],
)
def test_players_have_the_sizes_of_the_settings(part: str, sizes: list[int]) -> None:
    player = getattr(Gan(LARGE, num_values=784), part)
    assert [(a.in_features, a.out_features) for a in player if isinstance(a, nn.Linear)] == list(pairwise(sizes))
    assert sum(p.numel() for p in player.parameters()) == sum(a * b + b for a, b in pairwise(sizes))


def test_rows_are_of_the_datas_shape_and_within_tanh() -> None:
    rows = build(SMALL, Facts(shape=(4, 5)))(10 * torch.randn(6, 3))
    assert rows.shape == (6, 20)
    assert rows.abs().max() <= 1


def test_batch_norm_is_the_generators_and_dropout_the_discriminators() -> None:
    gan = build(SMALL.model_copy(update={"dropout": 0.5}), Facts(shape=(4, 5)))
    assert [sum(isinstance(layer, nn.BatchNorm1d) for layer in p) for p in (gan.generator, gan.discriminator)] == [1, 0]
    assert [sum(isinstance(layer, nn.Dropout) for layer in p) for p in (gan.generator, gan.discriminator)] == [0, 2]


def test_gan_comes_back_from_disk(tmp_path: Path) -> None:
    facts = Facts(num_labels=2, shape=(4, 5))
    gan = build(SMALL, facts)
    gan(torch.randn(16, 3))  # moves batch norm's running figures
    save(gan, tmp_path, family="gan", settings=SMALL, facts=facts)
    latents = torch.randn(5, 3)
    assert torch.equal(load(tmp_path)(latents), gan.eval()(latents))
