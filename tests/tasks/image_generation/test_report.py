import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from components.__main__ import run_stage
from components.evaluate.figures import shortened
from components.models.gan.network import Gan
from components.models.storage import load
from components.params import SampleGate
from components.plumbing.artifacts import FILES, files_of, read_json, write_json
from components.plumbing.errors import ArtifactError, InputError, QualityError
from components.tasks.image_generation.evaluate.judged import Judged
from components.tasks.image_generation.evaluate.plots import walk
from components.tasks.image_generation.evaluate.report import Report, faults_of, reset
from components.tracking.tracker import NullTracker
from tests.projects import edit
from tests.tiny_images import LABELS, SHAPE, copy_of

FOLDER = Path("artifacts/tiny/evaluate")
GATE = SampleGate(max_frechet_ratio=0.15, max_class_share=0.4, min_diversity=0.7, min_classifier_accuracy=0.9)
GOOD = Report(
    num_samples=1000, num_real=400, num_classes=4, classifier_accuracy=0.97, frechet_distance=10.0, frechet_ratio=0.05,
    untrained_frechet_distance=200.0, real_frechet_distance=2.0, test_frechet_distance=12.0, num_classes_present=4,
    max_class="left", max_class_share=0.3, min_class_share=0.2, diversity=0.95, nearest_distance=40.0,
    real_nearest_distance=45.0,
)  # fmt: skip


def judged_with(shares: list[float]) -> Judged:
    empty = np.zeros((0, *SHAPE), np.uint8)
    return Judged(LABELS, empty, np.zeros(0, np.int64), np.array(shares), np.full(4, 0.25))


def spoil(root: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the generator's weights."""
    folder = root / "artifacts/tiny/finetune"
    weights = load_file(folder / "model/model.safetensors")
    change(weights)
    (folder / "model/model.safetensors").unlink()  # it may be a link to that of pretrain
    save_file(weights, folder / "model/model.safetensors")
    write_json(folder / FILES, files_of(folder))


def test_good_generator_passes_and_leaves_its_tables_and_pictures(generated: Path) -> None:
    folder = generated / FOLDER
    report = read_json(folder / "report.json")
    assert report["classifier_accuracy"] > 0.9
    assert report["real_frechet_distance"] < report["frechet_distance"] < 0.5 * report["untrained_frechet_distance"]
    assert report["frechet_ratio"] == pytest.approx(
        report["frechet_distance"] / report["untrained_frechet_distance"], abs=1e-5
    )
    assert read_json(folder / "metrics.json") == {"frechet_distance": shortened(report["frechet_distance"])}
    assert report["num_classes_present"] == report["num_classes"] == 4
    table = pq.read_table(folder / "results/samples.parquet")
    assert len(table) == report["num_samples"] == 400
    shares = read_json(folder / "results/class_shares.json")
    counts = np.bincount(table["predicted_id"].to_numpy(), minlength=4) / 400
    assert [shares[label]["share"] for label in LABELS] == pytest.approx(counts.tolist())
    assert {label: entry["real_share"] for label, entry in shares.items()} == dict.fromkeys(LABELS, 0.25)
    sizes = {}
    for path in (folder / "plots").iterdir():
        with Image.open(path) as picture:
            sizes[path.name] = picture.size
    assert sizes["samples.png"] == (2 * 98, 2 * 98)  # 10 x 10 images of 8 pixels with gaps of 2, doubled
    assert sizes["walk.png"] == (2 * 118, 2 * 78)
    assert "classes.png" in sizes


def test_same_inputs_give_the_same_bytes(generated: Path, tmp_path: Path) -> None:
    root = copy_of(generated, tmp_path / "again")
    run_stage(root, "tiny", "evaluate", tracker=NullTracker())
    assert read_json(root / FOLDER / FILES) == read_json(generated / FOLDER / FILES)


def test_collapsed_generator_fails_with_a_message_that_says_so(generated: Path, tmp_path: Path) -> None:
    root = copy_of(generated, tmp_path / "collapsed")

    def collapse(weights: dict[str, torch.Tensor]) -> None:
        last = max(name for name in weights if name.startswith("generator.") and name.endswith(".weight"))
        weights[last].mul_(0.0)

    spoil(root, collapse)
    with pytest.raises(QualityError) as failed:
        run_stage(root, "tiny", "evaluate", tracker=NullTracker())
    message = str(failed.value)
    assert message.startswith("the generator collapsed: none of 400 samples is taken for ")
    assert "100.0% of the samples are taken for '" in message
    assert "two samples lie 0.00 times as far apart as two real rows" in message
    assert failed.value.report["diversity"] == 0
    assert (root / "observations/tiny/evaluate/plots/samples.png").is_file()
    assert (root / "observations/tiny/evaluate/results/class_shares.json").is_file()
    page = (root / "observations/tiny/evaluate/results/report.html").read_text(encoding="utf-8")
    assert "not served: the generator collapsed: none of 400 samples is taken for " in page


def test_weights_that_are_not_finite_are_named(generated: Path, tmp_path: Path) -> None:
    root = copy_of(generated, tmp_path / "broken")
    spoil(root, lambda weights: weights["generator.0.weight"][0, 0].fill_(float("nan")))
    with pytest.raises(ArtifactError, match=r"values that are not finite, in 'generator.0.weight'; train it again"):
        run_stage(root, "tiny", "evaluate", tracker=NullTracker())


def test_poor_classifier_fails_the_gate(generated: Path, tmp_path: Path) -> None:
    root = copy_of(generated, tmp_path / "poor")
    edit(root, "tiny.evaluate.gate.min_classifier_accuracy", 1.0)
    edit(root, "tiny.evaluate.classifier_epochs", 1)
    with pytest.raises(QualityError, match=r"has an accuracy of 0\.\d+, below evaluate.gate.min_classifier_accuracy 1"):
        run_stage(root, "tiny", "evaluate", tracker=NullTracker())


def test_split_of_one_row_is_refused(generated: Path, tmp_path: Path) -> None:
    root = copy_of(generated, tmp_path / "small")
    path = root / "artifacts/tiny/preprocess/test.parquet"
    pq.write_table(pq.read_table(path).slice(0, 1), path)
    write_json(path.parent / FILES, files_of(path.parent))
    with pytest.raises(InputError, match=r"test.parquet has 1 rows, but a distance needs 2"):
        run_stage(root, "tiny", "evaluate", tracker=NullTracker())


def test_gate_lets_a_good_report_pass() -> None:
    assert faults_of(GOOD, judged_with([0.25, 0.3, 0.2, 0.25]), GATE) == []


@pytest.mark.parametrize(
    ("changes", "shares", "message"),
    [
        ({}, [0.35, 0.35, 0.3, 0.0], r"^the generator collapsed: none of 1000 samples is taken for 'top'$"),
        ({"max_class_share": 0.41}, [0.41, 0.2, 0.2, 0.19], r"^the generator collapsed: 41.0% .* for 'left' .* 40%\)"),
        ({"diversity": 0.5}, [0.25] * 4, r"^the generator collapsed: two samples lie 0.50 times as far apart"),
        ({"frechet_ratio": 0.2}, [0.25] * 4, r"^the Fréchet distance 10.0 is 0.200 of the untrained generator's 200.0"),
        ({"classifier_accuracy": 0.5}, [0.25] * 4, r"^the classifier behind these figures has an accuracy of 0.5000"),
    ],
)
def test_each_fault_fails_the_gate_by_itself(changes: dict, shares: list[float], message: str) -> None:
    (fault,) = faults_of(replace(GOOD, **changes), judged_with(shares), GATE)
    assert re.match(message, fault)


def test_untrained_network_is_another_draw_of_the_same_one(generated: Path) -> None:
    model = load(generated / "artifacts/tiny/finetune/model")
    one, two, other = (reset(model, seed=seed) for seed in (0, 0, 1))
    assert isinstance(one, Gan)
    for name, value in one.state_dict().items():
        assert value.shape == model.state_dict()[name].shape
        assert torch.equal(value, two.state_dict()[name])
    weights = [module.state_dict()["generator.0.weight"] for module in (model, one, other)]
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[2])


def test_walk_goes_from_latent_to_latent_at_their_length() -> None:
    latents = np.random.default_rng(0).standard_normal((3, 50)).astype(np.float32)
    latents /= np.linalg.norm(latents, axis=1, keepdims=True)
    steps = walk(latents, num_steps=4)
    assert steps.shape == (8, 50)
    assert np.allclose(steps[[0, 4]], latents[:2], atol=1e-6)
    assert np.allclose(np.linalg.norm(steps, axis=1), 1, atol=1e-5)
    along = [float(steps[index] @ steps[index + 1]) for index in range(3)]
    assert max(along) - min(along) < 1e-5
