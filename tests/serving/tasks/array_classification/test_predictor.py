import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.testing import assert_array_equal

from serving.tasks.array_classification.predictor import INPUT, Predictor, load_settings, onnx_forward
from tests.tiny_arrays import LABELS, SHAPE, tiny_pictures

PICTURES, LABEL_ID = tiny_pictures(24)


@pytest.fixture(scope="module")
def predictor(compressed_arrays: Path) -> Predictor:
    return Predictor.load(compressed_arrays / "artifacts/tiny/compress/model", threads=2)


@pytest.fixture(scope="module")
def folder(compressed_arrays: Path) -> Path:
    return compressed_arrays / "artifacts/tiny/compress/model"


def test_model_tells_where_the_light_is(predictor: Predictor) -> None:
    scores = predictor.predict(PICTURES)
    assert_array_equal(scores.argmax(axis=1), LABEL_ID)
    assert predictor.labels == tuple(LABELS)
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-6)
    assert predictor.predict([]).shape == (0, 3)


def test_scores_depend_neither_on_the_rows_beside_nor_on_threads(predictor: Predictor, folder: Path) -> None:
    together = predictor.predict(PICTURES)
    assert_array_equal(together, np.concatenate([predictor.predict(picture[None]) for picture in PICTURES]))
    assert_array_equal(together, Predictor.load(folder, threads=1).predict(PICTURES.reshape(24, -1).tolist()))


def test_model_reads_the_values_as_they_come_and_scales_them_itself(folder: Path) -> None:
    seen: list[np.ndarray] = []

    def forward(values: np.ndarray) -> np.ndarray:
        seen.append(values)
        return np.zeros((len(values), 3), np.float32)

    settings = Predictor.load(folder, threads=1).settings
    predictor = Predictor(settings=settings, forward=forward, batch_size=2, threads=1)
    predictor.predict(np.stack([np.full(SHAPE, value) for value in (0, 127.5, 255)]))
    assert [batch.shape for batch in seen] == [(2, 54), (1, 54)]
    assert [batch[:, 0].tolist() for batch in seen] == [[0, 127.5], [255]]
    assert seen[0].dtype == np.float32
    assert [settings.scaled(batch)[:, 0].tolist() for batch in seen] == [[-1, 0], [1]]


def test_bundle_of_an_earlier_release_whose_graph_reads_scaled_values_answers_the_same(
    folder: Path, tmp_path: Path
) -> None:
    settings = load_settings(folder / "predictor.json")
    graph = onnx.load(folder / "model.onnx")
    graph.graph.input[0].name = "values"
    for node in graph.graph.node:
        node.input[:] = ["values" if name == INPUT else name for name in node.input]
    path = tmp_path / "model.onnx"
    onnx.save(graph, path)
    values = settings.values_of(PICTURES)
    assert_array_equal(
        onnx_forward(path, settings)(values), onnx_forward(folder / "model.onnx", settings)(settings.scaled(values))
    )


def test_predictor_needs_neither_training_nor_pictures(folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from serving.tasks.array_classification.predictor import Predictor\n"
        f"Predictor.load(Path({str(folder)!r}), threads=1).predict([[0] * 54])\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"torch", "transformers", "tokenizers", "PIL", "bentoml", "onnx", "pyarrow"}
