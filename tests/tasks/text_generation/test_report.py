import json
import lzma
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from components.evaluate import stage
from components.evaluate.figures import shortened
from components.models.facts import read_facts
from components.models.storage import build, save
from components.objectives.causal import prepare
from components.params import PretrainFromData, TextGenerationFigures
from components.params.families.gpt import GptSettings
from components.plumbing.errors import InputError, QualityError
from components.tasks.text_generation.evaluate.baselines import as_bytes, byte_ngram, xz_bits_per_byte
from components.tasks.text_generation.evaluate.documents import Documents, read_documents
from components.tasks.text_generation.evaluate.plots import by_position, edges_of
from components.tasks.text_generation.evaluate.report import Report, measure
from components.tasks.text_generation.evaluate.writing import alike, distinct, variety
from components.tracking.tracker import NullTracker
from components.training.loop import train
from components.training.objective import Data
from components.training.plan import plan_of
from tests.optimizers import optimizers_of
from tests.tiny_documents import tiny_documents, write_documents_of
from tests.training.test_causal import SETTINGS as TRAINING

MODEL = {"family": "gpt", "hidden_size": 32, "num_layers": 2, "num_heads": 2, "dropout": 0.0}
FIGURES: dict[str, Any] = {
    "task": "text_generation",
    "bootstrap": {"num_samples": 200, "seed": 0, "confidence": 0.9},
    "order": 3,
    "gate": {"max_bits_per_byte": 4.5, "min_gain": -2.0, "beat": ["xz", "byte_ngram"]},
    "samples": {
        "num_samples": 4, "max_tokens": 20, "temperature": 0.8, "top_k": 0, "top_p": 1.0, "seed": 0,
        "prompts": ["The river", "The actor"],
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> stage.Inputs:
    """A tiny language model that was trained on tiny documents."""
    folder = tmp_path_factory.mktemp("trained")
    write_documents_of(folder, tiny_documents(60), context=16)
    params = PretrainFromData.model_validate(TRAINING | {"model": MODEL, "epochs": 4}, strict=False)
    facts = read_facts(folder / "predictor")
    torch.manual_seed(0)
    model = build(params.model, facts)
    data = Data(folder / "train.parquet", folder / "validation.parquet", None, folder / "predictor")
    objective = prepare(
        params, model=model, facts=facts, data=data, tracker=NullTracker(), device=torch.device("cpu"),
        precision="fp32",
    )  # fmt: skip
    plan, optimizers = plan_of(params, objective, "fp32"), optimizers_of(params, objective)
    train(model, plan, objective, optimizers, checkpoints=folder / "checkpoints", tracker=NullTracker(), title="test")
    save(model, folder / "model", family="gpt", settings=GptSettings.model_validate(MODEL), facts=facts)
    control = folder / "control"
    splits = {name: folder / f"{name}.parquet" for name in ("train", "validation", "test")}
    return stage.Inputs(
        **splits, predictor=folder / "predictor", model=folder / "model", control=control, recipe="tiny"
    )


def evaluate(inputs: stage.Inputs, folder: Path, **changes: Any) -> tuple[Report, stage.Outputs]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "observations").mkdir()
    names = ("results", "plots", "metrics.json", "observations")
    outputs = stage.Outputs(*(folder / name for name in names))
    params = TextGenerationFigures.model_validate(FIGURES | changes, strict=False)
    return stage.run(params, inputs, outputs, tracker=NullTracker(), measure=measure), outputs


@pytest.fixture(scope="module")
def evaluated(inputs: stage.Inputs, tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, stage.Outputs]:
    return evaluate(inputs, tmp_path_factory.mktemp("evaluated"))


def test_the_figures_are_those_of_the_documents(evaluated: tuple[Report, stage.Outputs]) -> None:
    report, outputs = evaluated
    table = pq.read_table(outputs.results / "documents.parquet").to_pydict()
    sizes = np.array(table["num_bytes"])
    assert report.num_test == len(sizes) == 6
    assert report.num_test_bytes == sizes.sum()
    for name in ("bits_per_byte", "byte_ngram_bits_per_byte", "token_ngram_bits_per_byte"):
        assert getattr(report, name) == pytest.approx((np.array(table[name]) * sizes).sum() / sizes.sum(), abs=1e-5)
    assert report.perplexity == pytest.approx(
        2 ** (report.bits_per_byte * report.num_test_bytes / report.num_test_tokens), rel=1e-4
    )
    assert json.loads(outputs.metrics.read_text()) == {
        "bits_per_byte": shortened(report.bits_per_byte),
        "perplexity": shortened(report.perplexity),
    }
    assert report.bits_per_byte_low < report.bits_per_byte < report.bits_per_byte_high
    for name in ("xz", "byte_ngram", "token_ngram"):
        gain = getattr(report, f"{name}_bits_per_byte") - report.bits_per_byte
        assert getattr(report, f"gain_{name}") == pytest.approx(gain, abs=2e-6)
        assert getattr(report, f"gain_{name}_low") <= gain <= getattr(report, f"gain_{name}_high")


def test_a_trained_model_beats_chance(evaluated: tuple[Report, stage.Outputs]) -> None:
    assert evaluated[0].perplexity < 300 / 2


def test_samples_follow_the_prompts_in_turn(evaluated: tuple[Report, stage.Outputs]) -> None:
    report, outputs = evaluated
    samples = json.loads((outputs.results / "samples.json").read_text())
    assert [sample["prompt"] for sample in samples] == ["The river", "The actor"] * 2
    assert len({sample["text"] for sample in samples}) == 4
    assert [sample["seed"] for sample in samples] == [0, 1, 2, 3]
    assert report.sample.startswith("The river")
    assert "\n" not in report.sample


def test_page_says_what_is_gained_on_every_baseline(evaluated: tuple[Report, stage.Outputs]) -> None:
    html = (evaluated[1].results / "report.html").read_text(encoding="utf-8")
    assert "On 6 test documents of " in html
    assert "whose lower ends must be above -2: xz -9 " in html
    assert "Its gains on what it need not beat, which are below 0 where it is worse: token n-gram " in html
    assert "top_p 1, at most 20 tokens." in html


def test_plots_and_tables_are_left(evaluated: tuple[Report, stage.Outputs]) -> None:
    names = sorted(path.name for path in evaluated[1].plots.iterdir())
    assert names == ["comparison.csv", "comparison.png", "documents.png", "position.png"]
    lines = (evaluated[1].plots / "comparison.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["system", "xz", "byte_ngram", "token_ngram", "model"]


def test_the_same_model_gives_the_same_bytes(
    inputs: stage.Inputs, evaluated: tuple[Report, stage.Outputs], tmp_path: Path
) -> None:
    report, outputs = evaluate(inputs, tmp_path)
    assert asdict(report) == asdict(evaluated[0])
    for folder in ("results", "plots"):
        for path in getattr(outputs, folder).iterdir():
            assert path.read_bytes() == (getattr(evaluated[1], folder) / path.name).read_bytes(), path.name


def test_a_failed_gate_names_every_baseline_that_wins(inputs: stage.Inputs, tmp_path: Path) -> None:
    gate = {"max_bits_per_byte": 0.1, "min_gain": 5.0, "beat": ["xz", "byte_ngram", "token_ngram"]}
    message = (
        r"^bits_per_byte \d\.\d{4} \(90% interval .*\) is above evaluate.gate.max_bits_per_byte 0.1; and the gain on "
        r"xz is .* evaluate.gate.min_gain 5; and the gain on byte_ngram .* and the gain on token_ngram "
    )
    with pytest.raises(QualityError, match=message) as failed:
        evaluate(inputs, tmp_path, gate=gate)
    assert failed.value.report["num_test"] == 6
    left = tmp_path / "observations"
    assert (left / "plots" / "comparison.png").is_file()
    assert (left / "results" / "samples.json").is_file()
    assert "and the gain on token_ngram is" in (left / "results" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(("prompt", "message"), [("", "prompt is empty"), ("word " * 40, r"at most 15 are taken")])
def test_a_prompt_that_cannot_be_read_is_refused(
    prompt: str, message: str, inputs: stage.Inputs, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=f"^evaluate.samples: .*{message}"):
        evaluate(inputs, tmp_path, samples=FIGURES["samples"] | {"prompts": [prompt]})


def test_an_empty_split_is_refused(inputs: stage.Inputs, tmp_path: Path) -> None:
    path = tmp_path / "test.parquet"
    pq.write_table(pq.read_table(inputs.test).slice(0, 0), path)
    with pytest.raises(InputError, match="the test split holds no documents"):
        read_documents(path, name="test")


def split_of(*texts: str) -> Documents:
    sizes = np.array([len(text.encode()) for text in texts])
    return Documents(np.arange(len(texts)), texts, [np.arange(5, dtype=np.int32)] * len(texts), sizes)


def test_xz_is_that_of_the_tool() -> None:
    split = split_of("one é", "two")
    packed = lzma.compress("one é\ntwo".encode(), format=lzma.FORMAT_XZ, preset=9 | lzma.PRESET_EXTREME)
    assert xz_bits_per_byte(split) == 8 * len(packed) / (6 + 3)


def test_a_byte_ngram_tells_every_byte_and_the_end() -> None:
    np.testing.assert_array_equal(as_bytes("é!"), [0xC3, 0xA9, 33, 256])
    (found,) = byte_ngram(split_of("abab"), train=split_of("ababab", "babab"), order=3)
    assert found.shape == (5,)
    assert found[1] > found[0]


def test_variety_counts_ngrams() -> None:
    assert distinct([[1, 2, 1, 2], [1, 2]], length=2) == pytest.approx(2 / 4)
    found = variety([[1, 2, 3, 4, 1, 2, 3, 4, 1], [5, 6, 7, 8]])
    assert found["distinct_1"] == pytest.approx(8 / 13)
    assert found["repetition"] == pytest.approx((2 / 6 + 0) / 2)
    assert variety([[], [1]])["repetition"] == 0


def test_texts_to_compare_variety_with_have_the_same_lengths() -> None:
    split = split_of("one", "two")
    assert alike(split, [2, 3, 4]) == [[1, 2], [0, 1, 2], [0, 1, 2, 3]]


def test_bits_are_averaged_by_their_place() -> None:
    edges = edges_of(20)
    assert edges == [0, 1, 4, 16, 20]
    found = by_position([-np.array([8.0, 1, 2, 3, 5]), -np.array([4.0])], edges)
    np.testing.assert_allclose(found, [6, 2, 5, np.nan])
