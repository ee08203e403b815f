from dataclasses import replace

import pytest
import torch

from components.estimate.parts import parameters_by_part
from components.models.facts import Facts
from components.models.storage import build
from components.params.families.encoder import EncoderSettings
from components.params.families.gan import GanSettings
from components.params.families.gpt import GptSettings
from components.params.families.lstm import LstmSettings
from components.params.families.mlp import MlpSettings

FACTS = Facts(num_labels=10, vocab_size=300, context=32)
IMAGES = replace(FACTS, shape=(28, 28))
FAMILIES = {
    "gpt": (GptSettings(family="gpt", hidden_size=32, num_layers=2, num_heads=2, dropout=0.0), FACTS),
    "lstm": (LstmSettings(family="lstm", embedding_size=16, hidden_size=32, num_layers=2, dropout=0.0), FACTS),
    "encoder": (
        EncoderSettings(
            family="encoder", hidden_size=32, num_layers=2, num_heads=2, intermediate_size=64, dropout=0.0
        ),
        FACTS,
    ),
    "mlp": (
        MlpSettings(family="mlp", hidden_sizes=(64, 64), activation="relu", batch_norm=True, dropout=0.0), IMAGES
    ),
    "gan": (
        GanSettings(
            family="gan", latent_size=8, generator_sizes=(16,), discriminator_sizes=(16,), batch_norm=True, dropout=0.0
        ),
        IMAGES,
    ),
}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_parts_sum_to_torchs_own_count(family: str) -> None:
    model = build(*FAMILIES[family])
    assert sum(parameters_by_part(model).values()) == sum(p.numel() for p in model.parameters())


def test_parts_have_the_fields_names() -> None:
    names = {family: set(parameters_by_part(build(*FAMILIES[family]))) for family in FAMILIES}
    assert names["gpt"] == {"embeddings", "attention", "feed-forward", "normalisation"}
    assert names["encoder"] == {*names["gpt"], "head"}
    assert names["lstm"] == {"embeddings", "recurrent", "head"}
    assert names["mlp"] == {"hidden", "normalisation", "head"}
    assert names["gan"] == {"generator", "discriminator", "normalisation"}


def test_parts_of_an_encoder_by_hand() -> None:
    found = parameters_by_part(build(*FAMILIES["encoder"]))
    assert found["embeddings"] == 32 * (300 + 32 + 2)
    assert found["attention"] == 2 * 4 * (32 * 32 + 32)
    assert found["feed-forward"] == 2 * (2 * 32 * 64 + 64 + 32)
    assert found["head"] == 32 * 32 + 32 + 300


def test_wide_mlp_has_the_parameters_that_its_recipe_promises() -> None:
    settings = MlpSettings(family="mlp", hidden_sizes=(5000, 1000), activation="relu", batch_norm=False, dropout=0.0)
    with torch.device("meta"):
        model = build(settings, Facts(num_labels=10, shape=(1000,)))
    assert sum(parameters_by_part(model).values()) == 10_016_010
