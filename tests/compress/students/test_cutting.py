from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import nn
from transformers import BertConfig, DistilBertConfig, MPNetConfig, RobertaConfig

from components.compress.students import encoder, perceptron
from components.compress.students.cutting import chosen, factored
from components.compress.students.importance import NoScales, RowScales
from components.models.encoder.network import EncoderClassifier, classifier_of
from components.models.facts import Facts
from components.models.mlp.network import Perceptron, build
from components.params.families.mlp import MlpSettings
from components.plumbing.errors import InputError
from components.training.batches import ArrayBatch, Batch
from tests.compress.students.teachers import shape

SIZES = {
    "vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64,
    "max_position_embeddings": 40, "pad_token_id": 0,
}  # fmt: skip


def make_encoder(config: type[Any] = BertConfig, **sizes: int) -> EncoderClassifier:
    torch.manual_seed(0)
    return classifier_of(config(**SIZES | sizes), labels=["no", "yes"], dropout=0.0).eval()


def make_perceptron(**changes: Any) -> Perceptron:
    torch.manual_seed(0)
    settings = {"family": "mlp", "hidden_sizes": (64, 32), "activation": "gelu", "batch_norm": True, "dropout": 0.0}
    model = build(MlpSettings.model_validate(settings | changes), Facts(num_labels=3, shape=(5, 4)))
    for part in model.modules():
        if isinstance(part, nn.BatchNorm1d):
            nn.init.normal_(part.running_mean)
            nn.init.uniform_(part.running_var, 0.5, 2.0)
    return model.eval()


def texts(number: int = 16) -> list[Batch]:
    random = torch.Generator().manual_seed(1)
    ids = torch.randint(5, 50, (number, 12), generator=random)
    mask = (torch.arange(12) < torch.randint(3, 13, (number, 1), generator=random)).long()
    return Batch(torch.arange(number).numpy(), ids * mask, mask, torch.arange(number) % 2).parts(8)


def arrays(number: int = 16) -> list[ArrayBatch]:
    random = torch.Generator().manual_seed(1)
    return [
        ArrayBatch(torch.arange(number).numpy(), torch.randn((number, 20), generator=random), torch.arange(number) % 3)
    ]


def logits(model: nn.Module, batches: Any) -> torch.Tensor:
    with torch.no_grad():
        return torch.cat([
            model(one.values) if isinstance(one, ArrayBatch) else model(one.input_ids, one.attention_mask)
            for one in batches
        ])  # fmt: skip


def student(module: Any, model: nn.Module, batches: Any, **wanted: Any) -> Any:
    cut = module.cut_of(shape(**wanted), model, RowScales(model, batches))
    return cut, module.carved(deepcopy(model), cut)


def test_whole_student_is_its_teacher() -> None:
    for module, model, batches in ((encoder, make_encoder(), texts()), (perceptron, make_perceptron(), arrays())):
        _, whole = student(module, model, batches)
        assert torch.equal(logits(whole, batches), logits(model, batches))


def test_units_and_heads_that_do_nothing_go_and_nothing_changes() -> None:
    model = make_encoder()
    for layer in encoder.layers_of(model):
        encoder.product_of(layer, encoder.NARROW).weight.data[:, 1::2] = 0
        encoder.product_of(layer, encoder.MIXED).weight.data[:, 8:24] = 0  # of the heads 1 and 2
    cut, smaller = student(encoder, model, texts(), feed_forward=0.5, heads=0.5)
    assert cut.units == 3 * (tuple(range(0, 64, 2)),)
    assert cut.heads == 3 * ((0, 3),)
    assert [tuple(part.weight.shape) for part in products(smaller)[:6]] == [
        (16, 32), (16, 32), (16, 32), (32, 16), (32, 32), (32, 32)
    ]  # fmt: skip
    torch.testing.assert_close(logits(smaller, texts()), logits(model, texts()), rtol=0, atol=1e-6)


def products(model: EncoderClassifier) -> list[nn.Linear]:
    return [encoder.product_of(layer, name) for layer in encoder.layers_of(model) for name in encoder.PRODUCTS]


@pytest.mark.parametrize("batch_norm", [True, False])
def test_hidden_units_that_do_nothing_go_and_nothing_changes(batch_norm: bool) -> None:
    model = make_perceptron(batch_norm=batch_norm)
    for product in perceptron.products_of(model)[1:]:
        product.weight.data[:, ::2] = 0
    cut, smaller = student(perceptron, model, arrays(), feed_forward=0.5)
    assert cut.units == (tuple(range(1, 64, 2)), tuple(range(1, 32, 2)))
    torch.testing.assert_close(logits(smaller, arrays()), logits(model, arrays()), rtol=0, atol=1e-6)


def test_layer_that_does_nothing_goes_first() -> None:
    model = make_encoder()
    idle = encoder.layers_of(model)[1]
    for name in (encoder.MIXED, encoder.NARROW):
        nn.init.zeros_(encoder.product_of(idle, name).weight)
        nn.init.zeros_(encoder.product_of(idle, name).bias)
    cut, shorter = student(encoder, model, texts(), layers=2)
    assert cut.layers == (0, 2)
    torch.testing.assert_close(logits(shorter, texts()), logits(model, texts()), rtol=0, atol=1e-5)


def test_layers_that_matter_more_keep_more_units() -> None:
    importance = [torch.cat([torch.ones(48), torch.zeros(16)]), torch.cat([torch.ones(16), torch.zeros(48)])]
    assert [len(units) for units in chosen(importance, 0.5)] == [48, 16]
    assert [len(units) for units in chosen([torch.ones(64), torch.zeros(64)], 0.5)] == [64, 16]  # never none
    assert [len(units) for units in chosen([torch.ones(8), torch.zeros(8)], 0.5)] == [8, 8]  # less than one step


def test_product_in_two_at_its_full_rank_is_the_product_and_else_the_nearest() -> None:
    torch.manual_seed(0)
    product, values = nn.Linear(20, 12), torch.randn(5, 20)
    torch.testing.assert_close(factored(product, 12)(values), product(values), rtol=0, atol=1e-5)
    first, second = factored(product, 3)
    lost = torch.linalg.matrix_norm(second.weight @ first.weight - product.weight) ** 2
    torch.testing.assert_close(lost, (torch.linalg.svdvals(product.weight)[3:] ** 2).sum())


def test_products_become_two_where_that_takes_fewer_weights() -> None:
    _, thin = student(encoder, make_encoder(), texts(), rank=0.6)
    layer = encoder.layers_of(thin)[0]
    assert [tuple(part.weight.shape) for part in layer.get_submodule(encoder.WIDE).children()] == [(19, 32), (64, 19)]
    assert isinstance(layer.get_submodule(encoder.MIXED), nn.Linear)
    _, thin = student(perceptron, make_perceptron(), arrays(), rank=0.5)
    assert [tuple(part.weight.shape) for part in thin.hidden[0]] == [(10, 20), (64, 10)]
    with pytest.raises(InputError, match=r"at a rank of 0\.9 two products take as many weights as one"):
        student(encoder, make_encoder(), texts(), rank=0.9)


def test_descendants_of_bert_are_cut_and_others_refused_in_one_line() -> None:
    roberta = make_encoder(RobertaConfig)
    _, smaller = student(encoder, roberta, texts(), layers=2, feed_forward=0.5, heads=0.5)
    assert logits(smaller, texts()).shape == (16, 2)
    for config in (DistilBertConfig, MPNetConfig):
        with pytest.raises(InputError, match=r"cuts encoders with the parts of BERT's, and .* has no ") as caught:
            encoder.cut_of(shape(layers=1), make_encoder(config), NoScales())
        assert "\n" not in str(caught.value)
