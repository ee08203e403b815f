from typing import Any

import pytest
import torch
from torch import nn

from components.models.encoder.network import EncoderClassifier, classifier_from_encoder, classifier_of
from components.models.encoder.ways import attention_of, merge, restrict
from components.params import Full, LastLayers, Lora
from components.plumbing.errors import InputError
from tests.tiny import make_tiny_encoder

LORA = Lora(name="lora", rank=4, alpha=8, dropout=0.1)
IDS = torch.tensor([[2, 7, 9, 3], [2, 7, 3, 0]])
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return make_tiny_encoder(tmp_path_factory.mktemp("ways") / "encoder", ["a tiny text"])


@pytest.fixture
def model(encoder: Any) -> EncoderClassifier:
    torch.manual_seed(0)
    return classifier_from_encoder(encoder, labels=("negative", "positive"), dropout=0.0)


def num_trained(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def test_merged_additions_give_the_outputs_of_the_unmerged(model: EncoderClassifier, encoder: Any) -> None:
    plain = classifier_from_encoder(encoder, labels=("negative", "positive"), dropout=0.0).state_dict().keys()
    before = model.eval()(IDS, MASK)
    restrict(model, LORA)
    torch.testing.assert_close(model.eval()(IDS, MASK), before)  # additions begin at nothing
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.05)
    for _ in range(5):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(IDS, MASK), torch.tensor([0, 1])).backward()
        optimizer.step()
    unmerged = model.eval()(IDS, MASK)
    assert not torch.allclose(unmerged, before, atol=1e-2)
    merged = merge(model)
    torch.testing.assert_close(merged.eval()(IDS, MASK), unmerged, rtol=1e-5, atol=1e-6)
    assert merged.state_dict().keys() == plain


def test_low_rank_additions_train_two_thin_matrices_a_product(model: EncoderClassifier) -> None:
    restrict(model, LORA)
    head = 32 * 32 + 32 + 32 * 2 + 2  # the pooler, and the product for two labels
    assert num_trained(model) == head + 2 * 3 * (4 * 32 + 32 * 4)  # layers, products, each (rank, in) and (out, rank)


def test_unknown_part_to_freeze_is_refused_with_a_hint(model: EncoderClassifier) -> None:
    with pytest.raises(InputError, match=r"finetune.way.freeze: .* begins with 'embedings' .did you mean 'embeddings'"):
        restrict(model, Full(name="full", freeze=("embedings",)))


def test_more_layers_than_there_are_is_refused(model: EncoderClassifier) -> None:
    with pytest.raises(InputError, match="num_layers is 3, but 2 numbered layers were found"):
        restrict(model, LastLayers(name="last", num_layers=3))


def test_all_layers_leave_the_embeddings_as_they_are(model: EncoderClassifier) -> None:
    restrict(model, LastLayers(name="last", num_layers=2))
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen
    assert all(name.startswith("hosted.bert.embeddings.") for name in frozen)


@pytest.mark.parametrize("kind", ["distilbert", "roberta", "modernbert", "mpnet"])
def test_attention_is_found_in_encoders_of_other_names(kind: str) -> None:
    from transformers import AutoConfig

    sizes = {
        "vocab_size": 20, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16,
        "max_position_embeddings": 16, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1,
        "sep_token_id": 2,
    }  # fmt: skip
    if kind == "distilbert":
        sizes = {"vocab_size": 20, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 16}
    model = classifier_of(AutoConfig.for_model(kind, **sizes), labels=("a", "b"), dropout=0.0)
    encoder = model.encoder
    products = 1 if kind == "modernbert" else 3
    assert len(attention_of(encoder)) == 2 * products
    restrict(model, LastLayers(name="last", num_layers=1))
    assert 0 < num_trained(encoder) < sum(p.numel() for p in encoder.parameters()) / 2


def test_encoder_without_known_attention_is_refused() -> None:
    strange = nn.Sequential(nn.Linear(4, 4))
    with pytest.raises(InputError, match=r"none of Sequential has a name that is known .'0' are there"):
        attention_of(strange)
