from pathlib import Path

import pytest
import torch

from components.models.facts import Facts
from components.models.lstm.network import Lstm, build
from components.models.storage import load, save
from components.params.families.lstm import LstmSettings

FACTS = Facts(vocab_size=50, context=8)


def settings(hidden_size: int) -> LstmSettings:
    return LstmSettings(family="lstm", embedding_size=16, hidden_size=hidden_size, num_layers=2, dropout=0.1)


def network(hidden_size: int) -> Lstm:
    torch.manual_seed(0)
    return build(settings(hidden_size), FACTS).eval()


@pytest.mark.parametrize("hidden_size", [16, 24])
def test_the_state_carries_all_that_came_before(hidden_size: int) -> None:
    model, ids = network(hidden_size), torch.randint(50, (3, 20))
    with torch.inference_mode():
        whole = model(ids)
        first, state = model.step(ids[:, :7], None)
        rest, _ = model.step(ids[:, 7:], state)
    assert whole.shape == (3, 20, 50)
    assert [tuple(part.shape) for part in state] == [(2, 3, hidden_size)] * 2
    torch.testing.assert_close(torch.cat([first, rest], dim=1), whole)


def test_the_output_is_tied_to_the_embeddings() -> None:
    layers = 4 * 16 * (16 + 16) + 8 * 16
    assert sum(p.numel() for p in network(16).parameters()) == 50 * 16 + 2 * layers + 50
    model = network(16)
    model(torch.tensor([[1, 2]])).sum().backward()
    assert model.embedding.weight.grad is not None
    assert bool((model.embedding.weight.grad.abs().sum(dim=1) > 0).all())


@pytest.mark.parametrize("hidden_size", [16, 24])
def test_what_is_saved_is_loaded(hidden_size: int, tmp_path: Path) -> None:
    model, ids = network(hidden_size), torch.randint(50, (2, 8))
    save(model, tmp_path, family="lstm", settings=settings(hidden_size), facts=FACTS)
    with torch.inference_mode():
        torch.testing.assert_close(load(tmp_path)(ids), model(ids))
