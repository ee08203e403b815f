from pathlib import Path
from typing import Any

import pytest
import torch

from components.models import storage
from components.models.facts import Facts
from components.models.mlp.network import ACTIVATIONS, build
from components.params.families.mlp import MlpSettings

SETTINGS: dict[str, Any] = {
    "family": "mlp", "hidden_sizes": (6, 5), "activation": "relu", "batch_norm": False, "dropout": 0.0,
}  # fmt: skip
FACTS = Facts(num_labels=3, shape=(2, 4))


def mlp(**settings: Any) -> torch.nn.Module:
    torch.manual_seed(0)
    return build(MlpSettings.model_validate(SETTINGS | settings), FACTS)


def test_widths_follow_from_the_settings_and_the_data() -> None:
    linear = [module for module in mlp().modules() if isinstance(module, torch.nn.Linear)]
    assert [(one.in_features, one.out_features) for one in linear] == [(8, 6), (6, 5), (5, 3)]


def test_logits_are_those_of_the_products_taken_by_hand() -> None:
    model, values = mlp(activation="tanh"), torch.randn(7, 8)
    first, second, last = (module for module in model.modules() if isinstance(module, torch.nn.Linear))
    hidden = torch.tanh(values @ first.weight.T + first.bias)
    expected = torch.tanh(hidden @ second.weight.T + second.bias) @ last.weight.T + last.bias
    torch.testing.assert_close(model(values), expected)


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_every_activation_learns_one_batch(activation: str) -> None:
    model = mlp(activation=activation, hidden_sizes=(32,))
    values, labels = torch.randn(12, 8), torch.arange(12) % 3
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(150):
        loss = torch.nn.functional.cross_entropy(model(values), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (model(values).argmax(dim=1) == labels).all()


def test_batch_norm_and_dropout_act_in_training_only() -> None:
    model, values = mlp(batch_norm=True, dropout=0.5), torch.randn(64, 8)
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm1d)]
    assert [norm.num_features for norm in norms] == [6, 5]
    assert not torch.equal(model(values), model(values))
    model.eval()
    torch.testing.assert_close(model(values), model(values), rtol=0, atol=0)
    torch.testing.assert_close(model(values)[:1], model(values[:1]))


def test_saved_model_comes_back_with_its_running_means(tmp_path: Path) -> None:
    settings = MlpSettings.model_validate(SETTINGS | {"batch_norm": True})
    model = build(settings, FACTS)
    model(torch.randn(64, 8) + 3)
    storage.save(model, tmp_path, family="mlp", settings=settings, facts=FACTS)
    values = torch.randn(5, 8)
    torch.testing.assert_close(storage.load(tmp_path)(values), model.eval()(values), rtol=0, atol=0)
