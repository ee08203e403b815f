"""The explanations that evaluate makes of a tiny model of two words' moods."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.evaluate import Inputs, Outputs, stage
from components.evaluate.explanations.page import part
from components.export import quantize
from components.models.storage import load
from components.params import ExplainTexts, TextClassificationFigures
from components.plumbing.artifacts import files_of
from components.plumbing.errors import InputError
from components.tasks import task_of
from components.tasks.text_classification.evaluate.explaining import explain, tokens_of, twins_of
from components.tasks.text_classification.judging.export import export_classifier
from components.tracking.tracker import NullTracker
from serving.predictors.explaining import leave_one_out
from serving.tasks.text_classification.predictor import Predictor
from tests.tasks.text_classification.test_evaluate import ALWAYS, make_inputs, make_outputs, settings_of, teach
from tests.tiny import MOODS, tiny_rows

run = partial(stage.run, measure=task_of("text_classification").evaluate)
LABELS = sorted(MOODS)
EXPLAIN = ExplainTexts(rows=12, seed=0, min_occurrences=2)


def figures(explain: ExplainTexts | None) -> TextClassificationFigures:
    return settings_of(ALWAYS).model_copy(update={"explain": explain})


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    rows = [(text, LABELS.index(label)) for text, label in tiny_rows(200)]
    inputs, model = make_inputs(tmp_path_factory.mktemp("taught"), labels=LABELS, train=rows[:150], test=rows[150:])
    teach(model, inputs, rows[:150])
    return inputs


@pytest.fixture(scope="module")
def outputs(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Outputs:
    outputs = make_outputs(tmp_path_factory.mktemp("explained"))
    run(figures(EXPLAIN), inputs, outputs, tracker=NullTracker())
    return outputs


@pytest.fixture(scope="module")
def found(outputs: Outputs) -> Any:
    return json.loads((outputs.results / "explanations.json").read_text(encoding="utf-8"))


def test_both_methods_find_the_words_that_tell_the_label(found: Any) -> None:
    assert found["num_rows"] == 12
    for name in ("leave_one_out", "integrated_gradients"):
        method, random = found["orders"][name], found["orders"]["random"]
        assert method["comprehensiveness_over_random_low"] > 0
        assert method["sufficiency"] > random["sufficiency"]
        assert method["comprehensiveness_low"] <= method["comprehensiveness"] <= method["comprehensiveness_high"]
    assert found["agreement"]["tau"] > 0
    assert any("surely beats a random order" in line for line in found["verdict"])


def test_words_of_each_class_occur_as_often_as_is_asked(found: Any) -> None:
    assert list(found["words"]) == LABELS
    texts = " ".join(text["text"] for text in found["texts"]).split()
    for words in found["words"].values():
        for word in words:
            assert word["effect"] > 0
            assert word["count"] == texts.count(word["word"]) >= EXPLAIN.min_occurrences


def test_the_weights_are_those_of_the_int8_export_that_compress_makes(
    found: Any, inputs: Inputs, tmp_path: Path
) -> None:
    for path in inputs.predictor.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    quantize(export_classifier(load(inputs.model)), tmp_path / "model.onnx")
    predictor = Predictor.load(tmp_path, threads=1)
    assert found["texts"]
    for text in found["texts"]:
        expected = leave_one_out(predictor.predict, text["text"], most=128)
        assert text["answer"] == LABELS[expected.label_id]
        assert [(piece["start"], piece["end"]) for piece in text["pieces"]] == [
            (piece.start, piece.end) for piece in expected.pieces
        ]
        np.testing.assert_allclose(
            [piece["weights"]["leave_one_out"] for piece in text["pieces"]],
            [piece.effect for piece in expected.pieces],
            atol=1e-6,
        )


def test_the_plot_and_a_part_of_a_page_are_made(found: Any, outputs: Outputs) -> None:
    assert (outputs.plots / "explanations.png").is_file()
    found["texts"][0]["text"] = "<b>" + found["texts"][0]["text"][3:]
    made = part(found)
    assert made.title == "Explanations"
    assert "<b>" + found["texts"][0]["text"][3:] not in made.body
    assert "&lt;b&gt;" in made.body
    assert made.body.count("<svg") == 1
    assert "surely beats" in made.body


@pytest.mark.long
def test_the_same_inputs_give_the_same_bytes(inputs: Inputs, outputs: Outputs, tmp_path: Path) -> None:
    again = make_outputs(tmp_path)
    run(figures(EXPLAIN), inputs, again, tracker=NullTracker())
    digests = files_of(outputs.results.parent)
    assert "results/explanations.json" in digests
    assert files_of(again.results.parent) == digests


def test_nothing_is_explained_where_nothing_is_asked(inputs: Inputs, tmp_path: Path) -> None:
    outputs = make_outputs(tmp_path)
    run(figures(None), inputs, outputs, tracker=NullTracker())
    assert not (outputs.results / "explanations.json").exists()
    assert not (outputs.plots / "explanations.png").exists()


@pytest.mark.long
def test_texts_without_words_are_passed_over_and_no_words_at_all_refused(inputs: Inputs) -> None:
    texts = ["awful dull film", " ", "\n", "great warm song"]
    settings = EXPLAIN.model_copy(update={"min_occurrences": 1})
    bootstrap = settings_of(ALWAYS).bootstrap
    found = explain(settings, inputs, texts=texts, rows=[4, 5, 6, 7], actual=[0, 0, 1, 1], bootstrap=bootstrap)
    assert [text["row"] for text in found["texts"]] == [4, 7]
    with pytest.raises(InputError, match=r"none of the 2 texts to explain has a word; set evaluate.explain to null"):
        explain(settings, inputs, texts=[" ", ""], rows=[0, 1], actual=[0, 1], bootstrap=bootstrap)


@pytest.mark.long
def test_long_texts_are_explained_in_pieces(inputs: Inputs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("components.tasks.text_classification.evaluate.explaining.MOST_PIECES", 3)
    texts = ["awful dull film of a river", "great warm song of a garden"]
    bootstrap = settings_of(ALWAYS).bootstrap
    found = explain(EXPLAIN, inputs, texts=texts, rows=[0, 1], actual=[0, 1], bootstrap=bootstrap)
    assert [len(text["pieces"]) for text in found["texts"]] == [3, 3]
    assert found["words"] == {label: [] for label in LABELS}


def test_tokens_lie_where_they_are_in_the_text(inputs: Inputs, tmp_path: Path) -> None:
    twins = twins_of(load(inputs.model), inputs.predictor, tmp_path / "model")
    tokens = tokens_of(twins.served, "Great story")
    assert tokens.ids == twins.served.encode(["Great story"])[0]
    assert {"Great story"[span.start : span.end] for span in tokens.spans} == {"", "Great", "story"}
    long = " ".join(["film"] * 100)
    assert len(tokens_of(twins.served, long).ids) == 32
