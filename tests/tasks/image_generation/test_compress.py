from pathlib import Path

import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest
import torch

from components.__main__ import run_stage
from components.compress.paths import Inputs
from components.plumbing.artifacts import FILES, files_of, read_json, write_json
from components.plumbing.errors import ArtifactError, CompressionError
from components.tasks.image_generation.compress import ImageTrial, export_generator, folded, golden_of, make_trial
from components.tasks.image_generation.judging.torch_sampler import float_sampler
from components.tracking.tracker import NullTracker
from serving.tasks.image_generation.predictor import Sampler
from tests.projects import edit
from tests.tiny_images import copy_of


def inputs_of(root: Path) -> Inputs:
    folder = root / "artifacts/tiny"
    return Inputs(
        train=folder / "preprocess/train.parquet",
        unlabelled=folder / "preprocess/unlabelled.parquet",
        validation=folder / "preprocess/validation.parquet",
        test=folder / "preprocess/test.parquet",
        predictor=folder / "preprocess/predictor",
        model=folder / "finetune/model",
        float_results=folder / "evaluate/results",
    )


@pytest.fixture(scope="module")
def trial(generated: Path) -> ImageTrial:
    return make_trial(inputs_of(generated))


def test_batch_norm_is_folded_without_a_change(trial: ImageTrial) -> None:
    latents = torch.randn(9, trial.model.latent_size)
    plain = folded(trial.model.generator)
    assert not any(isinstance(layer, torch.nn.BatchNorm1d) for layer in plain)
    with torch.no_grad():
        assert torch.allclose(plain(latents), trial.model(latents), atol=1e-5)


def test_other_layers_than_products_in_sequence_stay_as_they_are() -> None:
    class Own(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = torch.nn.BatchNorm1d(4)

        def forward(self, values: torch.Tensor) -> torch.Tensor:
            return self.norm(values)

    inner = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4), torch.nn.ReLU())
    generator = torch.nn.Sequential(torch.nn.BatchNorm1d(4), inner, Own()).eval()
    generator[0].running_var.fill_(3.0)
    inner[1].running_mean.fill_(2.0)
    plain, values = folded(generator), torch.randn(5, 4)
    assert [type(layer).__name__ for layer in plain.modules()].count("BatchNorm1d") == 2
    with torch.no_grad():
        assert torch.allclose(plain(values), generator(values), atol=1e-5)


def test_exported_generator_gives_the_float_models_images(trial: ImageTrial, tmp_path: Path) -> None:
    graph = export_generator(trial.model)
    assert [tensor.name for tensor in graph.graph.input] == ["latents"]
    assert not any(weight.name.startswith("discriminator") for weight in graph.graph.initializer)
    assert sum(len(weight.raw_data) for weight in graph.graph.initializer) < trial.float_size_bytes
    onnx.save(graph, tmp_path / "model.onnx")
    (tmp_path / "predictor.json").write_text('{"shape": [8, 8]}')
    served = Sampler.load(tmp_path, threads=1).sample(5, 50).astype(int)
    assert np.abs(served - float_sampler(trial.model, shape=(8, 8)).sample(5, 50)).max() <= 1


def test_same_weights_are_exported_to_the_same_bytes(trial: ImageTrial) -> None:
    one, two = (export_generator(trial.model).SerializeToString(deterministic=True) for _ in range(2))
    assert one == two


def test_float_model_is_judged_as_evaluate_judged_it(trial: ImageTrial, generated: Path) -> None:
    evaluated = read_json(generated / "artifacts/tiny/evaluate/report.json")
    tested = trial.test(trial.float_runner(threads=1))
    assert tested.float_quality.value == pytest.approx(evaluated["test_frechet_distance"], abs=1e-5)
    assert tested.quality.value == pytest.approx(tested.float_quality.value, rel=0.01)
    assert tested.agreement > 0.99
    assert tested.mean_difference < 0.001


def test_golden_requests_are_answered_as_by_the_runner(trial: ImageTrial) -> None:
    runner = trial.float_runner(threads=1)
    golden = list(golden_of(runner))
    assert [len(entry["answer"]) for entry in golden[:5]] == [1, 2, 3, 4, 1]
    assert golden[2]["request"] == {"seed": 2, "count": 3, "format": "array"}
    assert golden[2]["answer"] == runner.sample(2, 3).tolist()


def test_stage_keeps_a_candidate_within_the_limits(generator_bundle: Path) -> None:
    folder = generator_bundle / "artifacts/tiny/compress"
    report = read_json(folder / "report.json")
    assert report["metric"] == "frechet_distance"
    assert report["method"] == "int8"
    assert report["size_ratio"] < 0.5
    assert report["validation_quality"] <= 2 * report["float_validation_quality"]
    assert report["agreement"] > 0.9
    assert sorted(path.name for path in (folder / "model").iterdir()) == ["model.onnx", "predictor.json"]
    samples = pq.read_table(folder / "results/samples.parquet")
    sampler = Sampler.load(folder / "model", threads=1)
    expected = sampler.sample(samples["seed"][0].as_py(), len(samples)).reshape(len(samples), -1)
    assert samples["values"].to_pylist() == expected.tolist()


def test_limit_that_none_keeps_is_named(generated: Path, tmp_path: Path) -> None:
    root = copy_of(generated, tmp_path / "strict")
    edit(root, "tiny.compress.gate.max_size_ratio", 0.001)
    with pytest.raises(CompressionError, match=r"int8: 0\.\d+ of the float model's bytes \(max_size_ratio 0.001\)"):
        run_stage(root, "tiny", "compress", tracker=NullTracker())


def test_classifier_of_other_images_is_refused(generated: Path, tmp_path: Path) -> None:
    root = copy_of(generated, tmp_path / "other")
    path = root / "artifacts/tiny/preprocess/predictor/predictor.json"
    write_json(path, read_json(path) | {"labels": ["a", "b"]})
    write_json(root / "artifacts/tiny/preprocess" / FILES, files_of(root / "artifacts/tiny/preprocess"))
    with pytest.raises(ArtifactError, match="is no classifier of 2 labels"):
        make_trial(inputs_of(root)).judge_float()
