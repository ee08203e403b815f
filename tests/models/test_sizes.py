"""Sizes of the recipes' own models, built on the meta device."""

from itertools import pairwise
from pathlib import Path

import torch

from components.models import storage
from components.models.facts import Facts
from components.params import ArrayData, TrainFromLabels
from components.recipes import load_recipe

ROOT = Path(__file__).parent.parent.parent


def num_parameters(name: str) -> int:
    recipe = load_recipe(ROOT, name)
    assert isinstance(recipe.preprocess, ArrayData)
    assert isinstance(recipe.finetune, TrainFromLabels)
    labels = recipe.validate.contract.labels
    assert labels is not None
    with torch.device("meta"):
        model = storage.build(recipe.finetune.model, Facts(num_labels=len(labels), shape=recipe.preprocess.shape))
    return sum(parameter.numel() for parameter in model.parameters())


def test_wide_mlp_has_the_parameters_of_its_widths() -> None:
    widths = (1000, 5000, 1000, 10)
    by_hand = sum((n_in + 1) * n_out for n_in, n_out in pairwise(widths))
    assert num_parameters("wide_mlp") == by_hand == 10_016_010


def test_digits_is_a_small_perceptron_with_batch_norm() -> None:
    layers = (784 + 1) * 64 + (64 + 1) * 64 + (64 + 1) * 10
    assert num_parameters("digits") == layers + 2 * 2 * 64
