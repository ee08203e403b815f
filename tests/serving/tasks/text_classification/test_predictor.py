import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from components.models.storage import load
from components.tasks.text_classification.judging.torch_predictor import float_predictor
from serving.predictors.scores import answers_of, softmax
from serving.tasks.text_classification.predictor import Predictor, load_settings, load_tokenizer
from tests.tiny import tiny_rows

TEXTS = [text for text, _ in tiny_rows(40)] + ["", "dull", "dull " * 500, "\u5b57\u5b57 \u00e9", "a\x00b"]


@pytest.fixture(scope="module")
def predictor(compressed: Path) -> Predictor:
    return Predictor.load(compressed / "artifacts/tiny/compress/model", threads=2)


def test_scores_of_a_text_do_not_depend_on_the_texts_beside_it(predictor: Predictor) -> None:
    together = predictor.predict(TEXTS)
    assert_array_equal(together, np.concatenate([predictor.predict([text]) for text in TEXTS]))
    assert_array_equal(together[::-1], predictor.predict(TEXTS[::-1]))


def test_scores_do_not_depend_on_the_number_of_threads(predictor: Predictor, compressed: Path) -> None:
    alone = Predictor.load(compressed / "artifacts/tiny/compress/model", threads=1)
    assert_array_equal(alone.predict(TEXTS), predictor.predict(TEXTS))


def test_scores_are_probabilities(predictor: Predictor) -> None:
    scores = predictor.predict(TEXTS)
    assert scores.shape == (len(TEXTS), 2)
    assert scores.dtype == np.float32
    assert_allclose(scores.sum(axis=1), 1, atol=1e-6)
    assert predictor.predict([]).shape == (0, 2)


def test_model_tells_the_moods(predictor: Predictor) -> None:
    scores = predictor.predict(["superb lovely", "dreadful dull"])
    assert [predictor.labels[index] for index in scores.argmax(axis=1)] == ["positive", "negative"]


def test_text_is_cleaned_and_cut_as_in_training(predictor: Predictor) -> None:
    assert predictor.encode(["A  LOVELY\tstory"]) == predictor.encode(["a lovely story"])
    assert predictor.encode(["see http://example.org/x now"]) == predictor.encode(["see [URL] now"])
    assert len(predictor.encode(["dull " * 500])[0]) == predictor.settings.max_tokens
    special = [predictor.tokenizer.token_to_id(token) for token in ("[CLS]", "[SEP]", "[MASK]", "[PAD]")]
    (plain,), (named,) = predictor.encode(["dull"]), predictor.encode(["dull [SEP] [MASK] [PAD] [CLS]"])
    assert [number in special for number in named].count(True) == [number in special for number in plain].count(True)
    vast = "dull " * 2_000_000  # 10 MB
    assert_array_equal(predictor.predict([vast]), predictor.predict(["dull " * 500]))


def test_text_without_tokens_is_scored(trained: Path) -> None:
    folder = trained / "artifacts/tiny/preprocess/predictor"
    settings = load_settings(folder / "predictor.json")
    tokenizer = load_tokenizer(folder / "tokenizer.json", settings)
    tokenizer.post_processor = None  # such as a tokenizer that adds no [CLS]
    seen: list[tuple[int, ...]] = []

    def forward(input_ids: np.ndarray, attention_mask: np.ndarray) -> np.ndarray:
        seen.append(input_ids.shape)
        return np.zeros((len(input_ids), 2), np.float32)

    predictor = Predictor(tokenizer=tokenizer, settings=settings, forward=forward, batch_size=8, threads=1)
    assert predictor.predict(["", "dull"]).tolist() == [[0.5, 0.5], [0.5, 0.5]]
    assert seen == [(2, 1)]


def test_float_model_is_judged_through_the_same_path(trained: Path) -> None:
    folder = trained / "artifacts/tiny"
    settings = load_settings(folder / "preprocess/predictor/predictor.json")
    tokenizer = load_tokenizer(folder / "preprocess/predictor/tokenizer.json", settings)
    model = load(folder / "finetune/model")
    predictor = float_predictor(model, tokenizer=tokenizer, settings=settings)
    with torch.inference_mode():
        for text, scores in zip(TEXTS, predictor.predict(TEXTS), strict=True):
            ids = torch.tensor(predictor.encode([text]))
            expected = torch.softmax(model(ids, torch.ones_like(ids)), dim=1)[0]
            assert_allclose(scores, expected, atol=1e-6)


def test_batches_hold_rows_of_like_lengths_and_the_order_is_kept(trained: Path) -> None:
    folder = trained / "artifacts/tiny/preprocess/predictor"
    settings = load_settings(folder / "predictor.json")
    shapes: list[tuple[int, ...]] = []

    def forward(input_ids: np.ndarray, attention_mask: np.ndarray) -> np.ndarray:
        shapes.append(input_ids.shape)
        return np.stack([attention_mask.sum(axis=1), np.zeros(len(input_ids))], axis=1).astype(np.float32)

    predictor = Predictor(
        tokenizer=load_tokenizer(folder / "tokenizer.json", settings), settings=settings, forward=forward,
        batch_size=2, threads=1,
    )  # fmt: skip
    scores = predictor.predict(["dull " * 9, "dull", "dull " * 8, "dull " * 2])
    assert shapes == [(2, 11), (2, 4)]
    assert_allclose(scores[:, 0], [1 / (1 + np.exp(-n)) for n in (11, 3, 10, 4)], rtol=1e-6)


def test_softmax_of_large_logits_is_finite() -> None:
    logits = np.array([[1000.0, 999.0], [-1000.0, 1000.0]], np.float32)
    expected = torch.softmax(torch.from_numpy(logits), dim=1)
    assert_allclose(softmax(logits), expected, atol=1e-6)


def test_label_is_that_of_the_highest_score() -> None:
    (answer,) = answers_of(["a", "b", "c"], np.array([[0.25, 0.5, 0.25]], np.float32))
    assert answer == {"label": "b", "scores": {"a": 0.25, "b": 0.5, "c": 0.25}}


def test_serving_needs_no_training_library(compressed: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from serving.tasks.text_classification.predictor import Predictor\n"
        f"Predictor.load(Path({str(compressed / 'artifacts/tiny/compress/model')!r}), threads=1).predict(['dull'])\n"
        "import serving.service, serving.tasks.text_classification.endpoint\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert {"onnxruntime", "tokenizers", "bentoml"} <= loaded
    assert not loaded & {
        "torch",
        "transformers",
        "onnx",
        "pandas",
        "pyarrow",
        "PIL",
        "sklearn",
        "mlflow",
        "components",
        "flows",
    }
