import copy
import logging
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig

from components.models.encoder.kinds import HEAD_DROPOUT
from components.models.encoder.network import build as build_encoder
from components.models.encoder.network import classifier_of
from components.models.encoder.ways import restrict
from components.models.facts import Facts
from components.models.gpt.network import build as build_gpt
from components.models.lstm.network import build as build_lstm
from components.params import Full, HeadOnly, LastLayers, Lora
from components.params.families.encoder import EncoderSettings
from components.params.families.gpt import GptSettings
from components.params.families.lstm import LstmSettings
from components.plumbing.errors import InputError
from components.training.recomputing import recompute_activations
from tests.tiny_encoders import OWN, SIZES

WITHOUT = ("albert", "mpnet")
"""The kinds of which transformers says that it cannot."""
WAYS = {
    "full": Full(name="full", freeze=("embeddings",)),
    "head": HeadOnly(name="head"),
    "last": LastLayers(name="last", num_layers=1),
    "lora": Lora(name="lora", rank=2, alpha=2, dropout=0.3),
}
FACTS = Facts(vocab_size=50, context=16)


def ids() -> Tensor:
    return torch.arange(48).reshape(4, 12) % 50


def classifier(kind: str) -> nn.Module:
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, vocab_size=50, **OWN.get(kind, SIZES), pad_token_id=0)
    return classifier_of(config, labels=["one", "other"], dropout=0.3)


def one_step(model: nn.Module, *inputs: Tensor) -> tuple[dict[str, Tensor], int, Tensor]:
    """The gradients, the bytes that are kept beside weights, and what is drawn next."""
    own = {parameter.data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in own:
            kept[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    torch.manual_seed(1)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = model.train()(*inputs).float().pow(2).mean()
    loss.backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return gradients, sum(kept.values()), torch.rand(3)


def check_same(model: nn.Module, *inputs: Tensor) -> None:
    other = copy.deepcopy(model)
    recompute_activations(other, stage="finetune")
    (gradients, kept, drawn), (again, kept_again, drawn_again) = one_step(model, *inputs), one_step(other, *inputs)
    assert gradients.keys() == again.keys()
    assert all(torch.equal(gradients[name], again[name]) for name in gradients)
    assert torch.equal(drawn, drawn_again)
    assert kept_again < 0.7 * kept
    with torch.inference_mode():
        assert torch.equal(model.eval()(*inputs), other.eval()(*inputs))


@pytest.mark.parametrize("kind", [kind for kind in HEAD_DROPOUT if kind not in WITHOUT])
def test_every_kind_of_encoder_has_the_same_gradients_with_dropout(kind: str) -> None:
    check_same(classifier(kind), ids(), torch.ones_like(ids()))


@pytest.mark.parametrize("way", WAYS)
def test_every_way_has_the_same_gradients_with_dropout(way: str) -> None:
    model: Any = classifier("bert")
    restrict(model, WAYS[way])
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    other = copy.deepcopy(model)
    recompute_activations(other, stage="finetune")
    inputs = (ids(), torch.ones_like(ids()))
    (gradients, _, _), (again, _, _) = one_step(model, *inputs), one_step(other, *inputs)
    assert gradients.keys() == again.keys() <= trained
    assert all(torch.equal(gradients[name], again[name]) for name in gradients)


def test_both_families_that_pretrain_have_the_same_gradients_with_dropout(caplog: Any) -> None:
    logger = logging.getLogger("transformers.utils.generic")  # transformers hands nothing on to the root
    logger.addHandler(caplog.handler)
    torch.manual_seed(0)
    check_same(
        build_gpt(GptSettings(family="gpt", hidden_size=32, num_layers=2, num_heads=4, dropout=0.3), FACTS), ids()
    )
    encoder = EncoderSettings(
        family="encoder", hidden_size=32, num_layers=2, num_heads=2, intermediate_size=64, dropout=0.3
    )
    check_same(build_encoder(encoder, FACTS), ids(), torch.ones_like(ids()), torch.tensor([1, 5, 20]))
    logger.removeHandler(caplog.handler)
    assert not caplog.records  # of a cache that no training has


@pytest.mark.parametrize("kind", [*WITHOUT, "lstm"])
def test_a_network_that_cannot_is_refused_in_a_line_that_says_what_to_do(kind: str) -> None:
    if kind == "lstm":
        settings = LstmSettings(family="lstm", embedding_size=8, hidden_size=8, num_layers=1, dropout=0.0)
        model: nn.Module = build_lstm(settings, FACTS)
    else:
        model = classifier(kind)
    said = r"^finetune.activation_checkpointing is for .* does not; leave it out, and set finetune.micro_batch_size"
    with pytest.raises(InputError, match=said):
        recompute_activations(model, stage="finetune")
