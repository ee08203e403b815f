"""Integrated gradients, beside what they must sum to."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from components.evaluate.explanations.gradients import Tokens, by_piece, embedding_of, integrated_gradients
from components.evaluate.explanations.sample import sampled, shuffled
from components.params import Explain
from serving.predictors.explaining import Span


class Bag(nn.Module):
    """A classifier of the mean of its tokens' vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(12, 6)
        self.layers = nn.Sequential(nn.Tanh(), nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 3))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        vectors = self.embedding(input_ids) * attention_mask[..., None]
        return self.layers(vectors.sum(dim=1) / attention_mask.sum(dim=1, keepdim=True))


@pytest.fixture
def model() -> Bag:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Bag().eval()


TOKENS = Tokens(ids=[1, 5, 6, 7, 2], spans=[Span(0, 0), Span(0, 4), Span(5, 9), Span(9, 12), Span(0, 0)])


@pytest.mark.parametrize("label_id", [0, 1, 2])
def test_attributions_sum_to_the_difference_from_padding(model: Bag, label_id: int) -> None:
    embedding = embedding_of(model)
    assert embedding is model.embedding
    found = integrated_gradients(model, embedding, TOKENS, pad_token_id=0, label_id=label_id)
    with torch.inference_mode():
        ids = torch.tensor([[1, 5, 6, 7, 2], [1, 0, 0, 0, 2]])
        scores = model(ids, torch.ones_like(ids)).softmax(dim=-1)[:, label_id]
    assert found.difference == pytest.approx(float(scores[0] - scores[1]), abs=1e-6)
    assert found.tokens.sum() == pytest.approx(found.difference, abs=1e-5)
    assert found.tokens[[0, 4]].tolist() == [0, 0], "special tokens are in the baseline, too"


def test_a_model_without_token_embeddings_has_none() -> None:
    assert embedding_of(nn.Linear(3, 2)) is None


def test_tokens_are_shared_out_among_the_pieces_that_they_lie_in() -> None:
    spans = [Span(0, 0), Span(0, 4), Span(4, 6), Span(6, 10)]
    pieces = [Span(0, 5), Span(5, 8), Span(20, 21)]
    found = by_piece(np.array([9.0, 1.0, 2.0, 4.0]), spans, pieces)
    np.testing.assert_allclose(found, [1 + 1, 1 + 4, 0])
    assert by_piece(np.array([1.0]), [Span(0, 1)], []).shape == (0,)


def test_shuffled_weights_have_the_same_values_in_a_seeded_order(model: Bag) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    after = shuffled(model, seed=3).state_dict()
    for name, value in before.items():
        assert torch.equal(value.flatten().sort().values, after[name].flatten().sort().values)
    assert not torch.equal(before["embedding.weight"], after["embedding.weight"])
    model.load_state_dict(before)
    again = shuffled(model, seed=3).state_dict()
    assert all(torch.equal(after[name], again[name]) for name in before)


def test_a_sample_is_that_of_its_seed_and_never_more_than_there_is() -> None:
    settings = Explain(rows=5, seed=1)
    found = sampled(100, settings)
    assert found == sorted(set(found)) == sampled(100, settings)
    assert len(found) == 5
    assert found != sampled(100, Explain(rows=5, seed=2))
    assert sampled(3, settings) == [0, 1, 2]
