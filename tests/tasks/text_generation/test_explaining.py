"""Which words of a prompt make what a tiny language model writes after it likely."""

import json
from pathlib import Path

import numpy as np
import pytest

from components.evaluate import stage
from components.evaluate.explanations.page import part
from components.plumbing.artifacts import files_of, read_json
from components.tasks.text_generation.evaluate.explaining import Continued, continued, keeping, scores, served
from serving.predictors.explaining import words_of
from serving.tasks.text_generation.predictor import TextGenerator
from tests.tasks.text_generation.test_report import evaluate, inputs  # noqa: F401

EXPLAIN = {"rows": 4, "seed": 0}


@pytest.fixture(scope="module")
def generator(inputs: stage.Inputs, tmp_path_factory: pytest.TempPathFactory) -> TextGenerator:  # noqa: F811
    from components.models.storage import load

    return served(load(inputs.model), "gpt", inputs.predictor, tmp_path_factory.mktemp("int8") / "model")


def test_words_are_left_out_as_a_person_would_type_it() -> None:
    whole = Continued("The river was wide", (1,))
    keep = keeping(whole, words_of(whole.prompt))
    assert keep(np.array([True, False, True, True])).prompt == "The was wide"
    assert keep(np.array([False, True, True, False])).prompt == "river was"
    assert keep(np.zeros(4, bool)) == Continued("", (1,))
    assert keep(np.ones(4, bool)) is whole


def test_scores_are_the_log2_probabilities_of_the_continuation(generator: TextGenerator) -> None:
    ids = generator.encode("The river")
    (log2,) = generator.log2_probabilities([[*ids, 5, 6]])
    (none,) = generator.log2_probabilities([[5, 6]])
    found = scores(generator, [Continued("The river", (5, 6)), Continued("", (5, 6))])
    assert found.shape == (2, 1)
    np.testing.assert_allclose(found[:, 0], [log2[-2:].mean(), none.mean()], rtol=1e-5)


def test_the_continuation_is_what_the_model_writes(generator: TextGenerator) -> None:
    ids = generator.tokenizer.encode("The river was wide and the garden", add_special_tokens=False).ids
    whole, text = continued(generator, ids)
    settings = {"temperature": 0.0, "top_k": 0, "top_p": 1.0, "seed": 0}
    assert text == generator.generate(whole.prompt, max_tokens=7, **settings).answer()["text"]
    assert continued(generator, []) == (Continued("", ()), "")


@pytest.mark.long
def test_a_sample_of_prompts_is_explained(inputs: stage.Inputs, tmp_path: Path) -> None:  # noqa: F811
    _, outputs = evaluate(inputs, tmp_path / "one", explain=EXPLAIN)
    found = read_json(outputs.results / "explanations.json")
    assert found["num_rows"] == len(found["texts"]) == 4
    assert found["orders"].keys() == {"leave_one_out", "leave_one_out_of_random_weights", "random"}
    assert all(text["pieces"] and text["answer"] and text["score"] < 0 for text in found["texts"])
    assert found["words"] == {}
    assert "log2-probability" in part(found).body
    _, again = evaluate(inputs, tmp_path / "two", explain=EXPLAIN)
    assert files_of(again.results) == files_of(outputs.results)
    assert json.dumps(found)
