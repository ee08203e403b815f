import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter
from scipy.stats import beta

from components.evaluate.behaviour.checks import Behaved, Finding, Rows, cut, run_checks
from components.evaluate.classification.metrics import Scores
from components.params import Behaviour
from components.plumbing.errors import InputError
from tests.tiny import tiny_rows

LABELS = ("negative", "positive")
TEXTS = [f"{text} is good" for text, _ in tiny_rows(60)]


def scored(positive: Sequence[float]) -> Scores:
    right = np.array(positive, np.float32)
    return np.stack([1 - right, right], axis=1)


def by_words(texts: Sequence[str]) -> Scores:
    """A model that knows 'good', 'not' and 'very', and nothing of case."""
    words = [text.lower().split() for text in texts]
    return scored([0.2 + 0.6 * ("good" in w) - 0.5 * ("not" in w) + 0.1 * ("very" in w) for w in words])


def behaviour(*checks: dict[str, Any], rows: int = 20, seed: int = 0) -> Behaviour:
    return TypeAdapter(Behaviour).validate_json(json.dumps({"seed": seed, "rows": rows, "checks": checks}))


def found(*checks: dict[str, Any], texts: Sequence[str] = TEXTS, predict: Any = by_words, **section: int) -> Behaved:
    rows = Rows(np.arange(len(texts)) + 1000, texts, predict(texts))
    return run_checks(behaviour(*checks, **section), rows, predict=predict, labels=LABELS, confidence=0.95)


def one(check: dict[str, Any], **words: Any) -> Finding:
    (finding,) = found(check, **words).checks
    return finding


def test_a_label_that_stays_is_no_failure_of_invariance() -> None:
    finding = one({"kind": "case"})
    assert (finding.test, finding.num_texts, finding.num_failures, finding.num_unseen) == ("invariance", 20, 0, 20)
    assert (finding.mean_change, finding.mean_score, finding.examples) == (0, pytest.approx(0.8), ())


def test_the_interval_is_that_of_clopper_and_pearson() -> None:
    texts = ["good"] * 15 + ["GOOD"] * 5

    def fragile(asked: Sequence[str]) -> Scores:
        return scored([0.1 if text == "GOOD" else 0.9 for text in asked])

    finding = one({"kind": "case"}, texts=texts, predict=fragile)
    assert (finding.num_failures, finding.share) == (20, 1)  # each becomes the other
    assert finding.share_low == pytest.approx(beta.ppf(0.025, 20, 1), abs=1e-6)
    assert finding.share_high == 1
    for example in finding.examples:
        assert {example.before, example.after} == {"good", "GOOD"}
        assert {example.label, example.label_after} == {"positive", "negative"}
        assert (example.score, example.score_after) == (0.9, 0.1)
        assert example.row is not None
        assert texts[example.row - 1000] == example.before
    assert len(finding.examples) == 5


def test_negation_fails_where_the_label_stays_and_its_score_falls_too_little() -> None:
    assert one({"kind": "negation", "min_fall": 0.4}).num_failures == 0
    deaf = one({"kind": "negation", "min_fall": 0.4}, predict=lambda asked: scored([0.9] * len(asked)))
    assert (deaf.test, deaf.num_failures, deaf.num_unseen) == ("direction", 20, 20)

    def falls_a_little(asked: Sequence[str]) -> Scores:
        return scored([0.7 if "not" in text.split() else 0.9 for text in asked])

    assert one({"kind": "negation", "min_fall": 0.1}, predict=falls_a_little).num_failures == 0
    assert one({"kind": "negation", "min_fall": 0.3}, predict=falls_a_little).num_failures == 20


def test_intensifiers_fail_where_the_score_falls_too_far() -> None:
    assert one({"kind": "intensifiers", "tolerance": 0.0}).num_failures == 0
    assert one({"kind": "intensifiers", "tolerance": 0.0}).mean_change == pytest.approx(0.1)

    def confused(asked: Sequence[str]) -> Scores:
        return scored([0.8 if "very" in text else 0.9 for text in asked])

    assert one({"kind": "intensifiers", "tolerance": 0.2}, predict=confused).num_failures == 0
    assert one({"kind": "intensifiers", "tolerance": 0.05}, predict=confused).num_failures == 20


def test_a_minimum_is_another_label_than_the_wanted_one() -> None:
    check = {
        "kind": "minimum", "name": "praise", "label": "positive", "max_failures": 0.4,
        "templates": ["A {quality} {thing}.", "It is {quality} ."],
        "fill": {"quality": ["good", "fine"], "thing": ["film", "song"]},
    }  # fmt: skip
    finding = one(check)
    assert (finding.name, finding.test, finding.label) == ("praise", "minimum", "positive")
    assert (finding.num_texts, finding.num_failures, finding.share) == (6, 3, 0.5)
    assert finding.is_broken
    assert (finding.mean_change, finding.num_unseen) == (None, None)
    example = finding.examples[0]
    assert (example.before, example.label, example.row, example.after) == ("A fine film.", "negative", None, None)
    assert example.score == pytest.approx(0.2)
    assert not one(check | {"max_failures": 0.5}).is_broken
    assert not one(check | {"max_failures": None}).is_broken


def test_texts_of_its_own_take_the_place_of_rows_and_are_all_taken() -> None:
    texts = [f"A film of {number} days" for number in range(10, 40)]
    finding = one({"kind": "numbers", "texts": [*texts, texts[0], "no number"]})
    assert finding.num_texts == 30
    assert finding.num_failures == 0


def test_templates_that_make_many_texts_are_sampled() -> None:
    fill = {name: [f"{name}{number}" for number in range(10)] for name in ("a", "b", "c")}
    check = {"kind": "minimum", "label": "negative", "templates": ["{a} {b} {c}", "{a}"], "fill": fill}
    assert one(check, rows=50).num_texts == 50
    assert one(check, rows=5000).num_texts == 1010
    assert one(check, rows=50).examples == ()


def test_more_rows_than_there_are_takes_all_that_it_can_change() -> None:
    texts = [*TEXTS, "12 !"]
    assert one({"kind": "typos"}, texts=texts, rows=10_000).num_texts == 60
    assert one({"kind": "typos"}, texts=texts, rows=7).num_texts == 7


def test_rows_of_one_label_are_those_that_the_model_gives_it() -> None:
    texts = [text if number % 3 else text.replace("good", "dull") for number, text in enumerate(TEXTS)]
    finding = one({"kind": "negation", "min_fall": 0.1, "label": "negative"}, texts=texts, rows=99)
    assert finding.num_texts == 20
    assert finding.label == "negative"
    assert all("dull" in example.before for example in finding.examples)


def test_the_same_seed_gives_the_same_and_another_check_beside_it_changes_nothing() -> None:
    typos = {"kind": "typos"}
    alone = one(typos, predict=odd)
    assert alone == one(typos, predict=odd)
    assert alone == found({"kind": "case"}, typos, predict=odd).checks[1]
    assert alone != one(typos, predict=odd, seed=1)


def odd(texts: Sequence[str]) -> Scores:
    return scored([sum(place * ord(letter) for place, letter in enumerate(text)) % 97 / 96 for text in texts])


CHINESE = ["这本书很好看我很喜欢", "房间太小了不推荐"] * 10


@pytest.mark.parametrize(
    ("check", "texts", "message"),
    [
        ({"kind": "case"}, CHINESE,
         "the check 'case' has no rows: none of 20 test rows has letters that have a case; take the check out"),
        ({"kind": "numbers", "name": "prices"}, TEXTS, "the check 'prices' has no rows: none of 60 test rows has"),
        ({"kind": "names"}, TEXTS, "has any of its names; give names that your texts have by 'words', or take"),
        ({"kind": "negation", "min_fall": 0.1}, CHINESE, "has any of its words; give words that your texts have"),
        ({"kind": "typos", "texts": ["a b", "c"]}, TEXTS, "'typos' has no rows: none of its 2 texts has words of four"),
        ({"kind": "negation", "min_fall": 0.1, "label": "negative"}, TEXTS,
         "the model gives none of 60 test rows the label that it takes; take the check out"),
        ({"kind": "intensifiers", "tolerance": 0.1, "label": "positive", "pairs": {"x": "y"}}, TEXTS,
         "none of 60 test rows with the label 'positive', as the model has it, has any of its words"),
        ({"kind": "minimum", "label": "postive", "texts": ["Good."]}, TEXTS,
         r"the check 'minimum postive' is about the label 'postive' \(did you mean 'positive'\?\), which the model "
         "does not know; it has 'negative', 'positive'"),
    ],
)  # fmt: skip
def test_a_check_that_has_nothing_to_ask_is_told_before_anything_is_asked(
    check: dict[str, Any], texts: list[str], message: str
) -> None:
    rows = Rows(np.arange(len(texts)), texts, by_words(texts))

    def never(_: Sequence[str]) -> Scores:
        raise AssertionError

    with pytest.raises(InputError, match=f"^evaluate.behaviour: .*{message}") as told:
        run_checks(behaviour({"kind": "punctuation"}, check), rows, predict=never, labels=LABELS, confidence=0.95)
    assert "\n" not in str(told.value)


def test_an_example_of_a_long_text_is_the_part_around_the_change() -> None:
    text = "word " * 5000 + "good" + " word" * 5000

    def fragile(asked: Sequence[str]) -> Scores:
        return scored([0.1 if "very" in one else 0.9 for one in asked])

    (example,) = one({"kind": "intensifiers", "tolerance": 0.1}, texts=[text], predict=fragile).examples
    assert len(example.before) == 402
    assert "word good word" in example.before
    assert example.after is not None
    assert "word very good word" in example.after
    assert example.before.startswith("…")
    assert example.before.endswith("…")
    assert cut("short", at=3) == "short"
