from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from pydantic import TypeAdapter

from components.compress.methods import METHODS
from components.compress.paths import Inputs
from components.compress.trial import CompressionTrial
from components.params.compress import Method
from components.plumbing.errors import InputError
from components.tasks import task_of
from tests.tiny_language import TEXTS, make_model, make_predictor, write_documents

CANDIDATES: list[dict[str, Any]] = [
    {"method": "fp32"}, {"method": "fp16"}, {"method": "int8"}, {"method": "pruned_int8", "sparsity": 0.3},
    {"method": "int8_static", "smoothing": None, "rows": 16}, {"method": "int8_static", "smoothing": 0.5, "rows": 16},
    {"method": "int4", "block_size": 16},
]  # fmt: skip
LARGEST_ERROR = {"fp32": 1e-6, "fp16": 0.01, "int8": 0.05, "int8_static": 0.1, "int4": 0.3, "pruned_int8": 0.5}
"""The mean error of the outputs, relative to their spread."""

Trial = CompressionTrial[Any]


def parsed(candidate: dict[str, Any]) -> Any:
    return TypeAdapter[Any](Method).validate_python(candidate)


def inputs_of(artifacts: Path) -> Inputs:
    preprocess = artifacts / "preprocess"
    splits = {name: preprocess / f"{name}.parquet" for name in ("train", "unlabelled", "validation", "test")}
    return Inputs(
        **splits, predictor=preprocess / "predictor", model=artifacts / "finetune/model",
        float_results=artifacts / "evaluate/results",
    )  # fmt: skip


def language_trial(family: str, root: Path) -> Trial:
    make_predictor(root / "preprocess/predictor")
    for split, texts in (("train", TEXTS[24:]), ("validation", TEXTS[:12]), ("test", TEXTS[12:24])):
        write_documents(root / f"preprocess/{split}.parquet", texts)
    make_model(root / "finetune", family)
    return task_of("text_generation").compress(inputs_of(root))


@pytest.fixture(scope="module", params=["encoder", "mlp", "gpt", "lstm", "gan"])
def trial(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trial:
    of_family: dict[str, tuple[str, str]] = {
        "encoder": ("text_classification", "trained"), "mlp": ("array_classification", "trained_arrays"),
        "gan": ("image_generation", "generated"),
    }  # fmt: skip
    if request.param not in of_family:
        return language_trial(request.param, tmp_path_factory.mktemp(request.param))
    task, fixture = of_family[request.param]
    return task_of(task).compress(inputs_of(request.getfixturevalue(fixture) / "artifacts/tiny"))


@pytest.fixture(scope="module")
def graph(trial: Trial) -> onnx.ModelProto:
    (graph,) = trial.export().values()
    return graph


def written(graph: onnx.ModelProto, trial: Trial, candidate: dict[str, Any], path: Path) -> Path:
    METHODS[candidate["method"]](graph, parsed(candidate), path, trial.feeds)
    return path


def outputs_for(path: Path, trial: Trial) -> list[np.ndarray[Any, Any]]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    feeds = trial.feeds(12)
    assert feeds
    return [np.asarray(session.run(None, dict(feed))[0]) for feed in feeds]


def test_every_method_has_a_candidate_here() -> None:
    assert {candidate["method"] for candidate in CANDIDATES} == set(METHODS)


def test_every_method_takes_every_family(trial: Trial, graph: onnx.ModelProto, tmp_path: Path) -> None:
    before = graph.SerializeToString()
    onnx.save(graph, tmp_path / "float.onnx")
    expected = outputs_for(tmp_path / "float.onnx", trial)
    spread = np.concatenate([value.ravel() for value in expected]).std()
    for number, candidate in enumerate(CANDIDATES):
        path = written(graph, trial, candidate, tmp_path / f"{number}.onnx")
        found = outputs_for(path, trial)
        error = np.mean([np.abs(one - other).mean() for one, other in zip(found, expected, strict=True)]) / spread
        assert error <= LARGEST_ERROR[candidate["method"]], candidate
        again = written(graph, trial, candidate, tmp_path / "again.onnx")
        assert path.read_bytes() == again.read_bytes(), candidate
    assert graph.SerializeToString() == before


def test_names_tell_candidates_apart() -> None:
    names = [parsed(candidate).name for candidate in CANDIDATES]
    assert names == ["fp32", "fp16", "int8", "pruned_int8 0.3", "int8_static of 16", "int8_static 0.5 of 16", "int4 16"]


def test_smaller_numbers_take_fewer_bytes(tmp_path: Path, trained: Path) -> None:
    trial = task_of("text_classification").compress(inputs_of(trained / "artifacts/tiny"))
    (graph,) = trial.export().values()
    sizes = {
        candidate["method"]: written(graph, trial, candidate, tmp_path / "graph.onnx").stat().st_size
        for candidate in CANDIDATES
    }
    assert sizes["int4"] < sizes["int8"] < sizes["fp16"] < sizes["fp32"]
    assert sizes["int8"] == pytest.approx(sizes["pruned_int8"], rel=0.01)


@pytest.mark.parametrize("rows", [None, lambda _: None, lambda _: []])
def test_fixed_scales_without_rows_say_what_the_task_can_take(
    rows: Callable[[int], Any] | None, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"int8_static needs example rows, .* can take fp32, fp16, int8, int4, pruned"):
        METHODS["int8_static"](onnx.ModelProto(), parsed(CANDIDATES[4]), tmp_path / "graph.onnx", rows)
