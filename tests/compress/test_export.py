from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from onnx import numpy_helper
from torch.nn.utils.prune import l1_unstructured

from components.compress.pruning import prune, without_smallest
from components.export import quantize
from components.models.encoder.network import EncoderClassifier
from components.models.storage import load
from components.tasks.text_classification.compress import export_classifier


@pytest.fixture(scope="module")
def model(trained: Path) -> EncoderClassifier:
    found = load(trained / "artifacts/tiny/finetune/model")
    assert isinstance(found, EncoderClassifier)
    return found


@pytest.fixture(scope="module")
def exported(model: EncoderClassifier) -> onnx.ModelProto:
    return export_classifier(model)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (3, 32), (8, 2)])
def test_exported_model_gives_torch_s_logits_for_any_shape(
    model: EncoderClassifier, exported: onnx.ModelProto, shape: tuple[int, int]
) -> None:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, 100, shape, generator=generator)
    mask = (torch.arange(shape[1]) < torch.arange(1, shape[0] + 1).unsqueeze(1)).long()
    session = onnxruntime.InferenceSession(exported.SerializeToString(), providers=["CPUExecutionProvider"])
    logits = np.asarray(session.run(None, {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})[0])
    with torch.inference_mode():
        assert_allclose(logits, model(ids, mask), atol=1e-5)


def test_exported_model_holds_no_path_of_this_machine(exported: onnx.ModelProto) -> None:
    assert b"site-packages" not in exported.SerializeToString()
    assert b".py" not in exported.SerializeToString()


def test_export_leaves_the_model_as_it_was(model: EncoderClassifier) -> None:
    config: Any = model.hosted.config
    before = config._attn_implementation
    export_classifier(model)
    assert config._attn_implementation == before


def test_a_classifier_of_another_family_is_exported_too() -> None:
    class BagOfTokens(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = torch.nn.Embedding(100, 8)
            self.head = torch.nn.Linear(8, 2)

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            mask = attention_mask.unsqueeze(-1).to(torch.float32)
            return self.head((self.encoder(input_ids) * mask).sum(dim=1) / mask.sum(dim=1))

    model = BagOfTokens().eval()
    session = onnxruntime.InferenceSession(
        export_classifier(model).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    ids, mask = torch.tensor([[5, 6, 7], [8, 9, 0], [3, 0, 0]]), torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 0]])
    logits = np.asarray(session.run(None, {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})[0])
    with torch.inference_mode():
        assert_allclose(logits, model(ids, mask), atol=1e-5)


def test_same_weights_give_the_same_bytes(model: EncoderClassifier, exported: onnx.ModelProto, tmp_path: Path) -> None:
    quantize(exported, tmp_path / "one.onnx")
    quantize(export_classifier(model), tmp_path / "other.onnx")
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "other.onnx").read_bytes()


def test_quantized_model_is_all_int8(exported: onnx.ModelProto, tmp_path: Path) -> None:
    quantize(exported, tmp_path / "model.onnx")
    quantized = onnx.load(tmp_path / "model.onnx")
    large = [weight for weight in quantized.graph.initializer if np.prod(weight.dims) > 1000]
    assert large
    assert {weight.data_type for weight in large} <= {onnx.TensorProto.INT8, onnx.TensorProto.UINT8}


def test_pruning_sets_the_smallest_weights_of_each_linear_layer_to_zero(exported: onnx.ModelProto) -> None:
    before = {weight.name: numpy_helper.to_array(weight) for weight in exported.graph.initializer}
    pruned = prune(exported, sparsity=0.25)
    after = {weight.name: numpy_helper.to_array(weight) for weight in pruned.graph.initializer}
    changed = [name for name in before if not np.array_equal(before[name], after[name])]
    assert len(changed) == 2 * 6 + 2  # two layers of query, key, value, output, up, down; and the head
    for name in changed:
        assert np.mean(after[name] == 0) == pytest.approx(0.25, abs=0.01)
        kept = after[name] != 0
        assert_array_equal(after[name][kept], before[name][kept])
        assert np.abs(before[name][~kept]).max() <= np.abs(before[name][kept]).min()


def test_smallest_weights_agree_with_torch_s_pruning() -> None:
    weight = np.random.default_rng(0).normal(size=(16, 12)).astype(np.float32)
    layer = torch.nn.Linear(12, 16, bias=False)
    layer.weight = torch.nn.Parameter(torch.from_numpy(weight.copy()))
    l1_unstructured(layer, "weight", amount=0.3)
    assert_array_equal(without_smallest(weight, 0.3), layer.weight.detach())


def test_of_equal_weights_the_share_is_still_exact() -> None:
    assert without_smallest(np.ones((4, 5), np.float32), 0.5).sum() == 10
