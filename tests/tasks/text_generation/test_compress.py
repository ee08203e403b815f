from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from components.compress.paths import Inputs
from components.models.storage import load
from components.plumbing.artifacts import Layout, read_json
from components.tasks.text_generation.compress import MAX_TOKENS, TextGenerationTrial, make_trial, read_excerpts
from serving.tasks.text_generation.predictor import TextGenerator
from tests.tiny_language import CONTEXT, TEXTS, compress, make_predictor, write_documents


@pytest.fixture(scope="module", params=["gpt", "lstm"])
def root(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp(request.param)
    compress(root, request.param)
    return root


@pytest.fixture(scope="module")
def folder(root: Path) -> Path:
    return root / "artifacts/tiny/compress"


@pytest.fixture(scope="module")
def trial(root: Path) -> TextGenerationTrial:
    return make_trial(Layout(root, "tiny", "compress").inputs(Inputs))


def test_stage_writes_what_is_served_and_golden_answers(folder: Path) -> None:
    assert sorted(path.name for path in (folder / "model").iterdir()) == [
        "model.onnx", "predictor.json", "tokenizer.json",
    ]  # fmt: skip
    model = TextGenerator.load(folder / "model", threads=1)
    golden: list[Any] = read_json(folder / "results/golden.json")
    assert {entry["request"]["temperature"] for entry in golden} == {0.0, 0.8}
    for entry in golden:
        request = dict(entry["request"])
        assert request.pop("stream") is False
        assert model.generate(**request).answer() == entry["answer"]


def test_report_is_in_bits_per_byte(folder: Path) -> None:
    report = read_json(folder / "report.json")
    assert report["metric"] == "bits_per_byte"
    assert report["num_validation"] == report["num_test"] == 12
    assert abs(report["validation_quality"] - report["float_validation_quality"]) < 0.5
    assert 0.5 < report["agreement"] <= 1
    assert report["unit"] == "tokens"
    table = pq.read_table(folder / "results/documents.parquet")
    bits = np.multiply(table["bits_per_byte"], table["num_bytes"]).sum() / np.sum(table["num_bytes"])
    assert bits == pytest.approx(report["quality"], abs=1e-4)


@torch.inference_mode()
def test_quality_is_that_of_the_model_itself(trial: TextGenerationTrial, root: Path) -> None:
    model = load(root / "artifacts/tiny/finetune/model")
    short = [ids[: CONTEXT - 1] for ids in trial.validation.input_ids]
    tokenizer = trial.reader.tokenizer
    num_bytes = np.array([len(tokenizer.decode(ids).encode()) for ids in short])
    bits = 0.0
    for ids in short:
        log_probabilities = torch.log_softmax(model(torch.tensor([[0, *ids[:-1]]]))[0], dim=1)
        bits -= float(log_probabilities[range(len(ids)), ids].sum()) / np.log(2)
    found = trial.reader.log2_probabilities(short)
    assert -sum(one.sum() for one in found) / num_bytes.sum() == pytest.approx(bits / num_bytes.sum(), rel=1e-4)


def test_report_says_that_beginnings_were_judged(trial: TextGenerationTrial, folder: Path) -> None:
    report, documents = read_json(folder / "report.json"), pq.read_table(folder / "results/documents.parquet")
    lengths: list[int] = documents["num_tokens"].to_pylist()
    assert report["num_test"] == len(lengths)
    assert report["judged"] == (
        f"{sum(lengths):,} tokens of the test split, the beginnings of {len(lengths)} of its documents "
        f"({max(lengths):,} tokens each at most)"
    )


def test_work_counts_the_tokens_that_were_written(trial: TextGenerationTrial) -> None:
    runner = trial.float_runner(threads=2)
    assert trial.work(runner, trial.items[:3]) == trial.work(trial.reader, trial.items[:3]) > 0


def test_same_model_gives_the_same_golden_answers(root: Path, folder: Path, trial: TextGenerationTrial) -> None:
    runner = trial.load(folder / "model", threads=2)
    assert list(trial.test(runner).golden) == read_json(folder / "results/golden.json")


def test_no_more_is_read_than_is_needed(tmp_path: Path) -> None:
    predictor = make_predictor(tmp_path / "predictor")
    write_documents(tmp_path / "validation.parquet", [" ".join(TEXTS * 20)] * 3 + ["short"])
    excerpts = read_excerpts(tmp_path / "validation.parquet", predictor)
    assert [len(ids) for ids in excerpts.input_ids[:3]] == [MAX_TOKENS // 4] * 3
    assert excerpts.num_bytes[3] == len("short")
    assert excerpts.row.tolist() == [0, 1, 2, 3]
    assert excerpts.prompts[3] == "short"
