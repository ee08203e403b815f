import copy
import re
from typing import Any

import pytest
from ruamel.yaml import YAML

from components.params import Behaviour, TextClassificationFigures
from components.plumbing.errors import ParamsError
from components.recipes import load_yaml, parse_recipe
from tests.projects import ROOT

FILL = {"quality": ["fine", "great"], "thing": ["film", "song"]}


def parsed(*checks: dict[str, Any], **section: Any) -> Behaviour:
    raw = copy.deepcopy(load_yaml(ROOT / "params.yaml")["recipes"]["movie_sentiment"])
    raw["evaluate"]["behaviour"] = {"seed": 0, "rows": 20, "checks": list(checks)} | section
    evaluate = parse_recipe("movie", raw).evaluate
    assert isinstance(evaluate, TextClassificationFigures)
    assert evaluate.behaviour is not None
    return evaluate.behaviour


def test_every_kind_of_check_can_be_written_in_a_line() -> None:
    behaviour = parsed(
        {"kind": "typos"},
        {"kind": "case", "max_failures": 0.1},
        {"kind": "numbers", "texts": ["He paid 20 dollars."]},
        {"kind": "punctuation"},
        {"kind": "names", "words": ["Ann", "Bea"]},
        {"kind": "neutral", "sentences": ["I saw it on a Tuesday."]},
        {"kind": "negation", "pairs": {"is": "is not"}, "min_fall": 0.1, "label": "positive"},
        {"kind": "intensifiers", "tolerance": 0.0},
        {"kind": "minimum", "label": "positive", "templates": ["A {quality} {thing}."], "fill": FILL},
    )
    assert len(behaviour.checks) == 9
    assert behaviour.wanted_labels() == {"positive": "negation"}


def test_the_example_of_the_documentation_can_be_written() -> None:
    page = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    example = re.search(r"```yaml\n(behaviour:\n.*?)```", page, re.DOTALL)
    assert example is not None
    raw = YAML(typ="safe").load(example[1])["behaviour"]
    assert len(parsed(*raw.pop("checks"), **raw).checks) == 6


def test_a_recipe_without_the_section_has_no_checks() -> None:
    recipe = load_yaml(ROOT / "params.yaml")["recipes"]["movie_sentiment"]
    del recipe["evaluate"]["behaviour"]
    evaluate = parse_recipe("movie", recipe).evaluate
    assert isinstance(evaluate, TextClassificationFigures)
    assert evaluate.behaviour is None


PLAIN = {"kind": "minimum", "label": "positive", "templates": ["A {quality} {thing}."], "fill": FILL}


@pytest.mark.parametrize(
    ("checks", "message"),
    [
        ([], r"behaviour.checks: tuple should have at least 1 item"),
        ([{"kind": "typo"}], r"checks.0: input tag 'typo' .* expected tags: 'typos', 'case', 'numbers', .* 'minimum'"),
        ([{"change": "typos"}], r"checks.0: .*'kind'"),
        ([{"kind": "typos", "rows": 3}], r"movie.evaluate.behaviour.checks.0.rows: unknown key"),
        ([{"kind": "typos", "max_failures": 5}], r"checks.0.max_failures: .*less than or equal to 1.*the value is 5"),
        ([{"kind": "typos"}, {"kind": "typos"}], r"two checks are called 'typos'; give each a name of its own"),
        ([{"kind": "typos"}, {"kind": "case", "name": "typos"}], r"two checks are called 'typos'"),
        ([PLAIN, PLAIN], r"two checks are called 'minimum positive'"),
        ([{"kind": "typos", "name": "two\nlines"}], r"checks.0.name: string should match"),
        ([{"kind": "typos", "texts": []}], r"checks.0.texts: tuple should have at least 1 item"),
        ([{"kind": "typos", "texts": [" "]}], r"checks.0.texts.0: is blank; write some words"),
        ([{"kind": "typos", "texts": ["a" * 20_001]}], r"checks.0.texts.0: .* at most 20000 characters"),
        ([{"kind": "typos", "texts": ["a"], "templates": ["b"]}], r"has texts and templates; write the texts as"),
        ([{"kind": "typos", "texts": ["a"], "fill": FILL}], r"has fill, but no templates whose fields it could fill"),
        ([{"kind": "names", "words": ["Ann"]}], r"checks.0.words: tuple should have at least 2 items"),
        ([{"kind": "negation"}], r"checks.0.min_fall: missing"),
        ([{"kind": "negation", "min_fall": 0.0}], r"checks.0.min_fall: .* greater than 0"),
        ([{"kind": "intensifiers"}], r"checks.0.tolerance: missing"),
        ([{"kind": "negation", "min_fall": 0.1, "pairs": {}}], r"checks.0.pairs: dictionary should have at least 1"),
        ([{"kind": "negation", "min_fall": 0.1, "pairs": {"is": "IS"}}], r"pairs has 'is' for itself"),
        ([{"kind": "negation", "min_fall": 0.1, "label": "positive", "texts": ["It is."]}], r"label chooses among"),
        ([{"kind": "negation", "min_fall": 0.1, "label": "postive"}],
         r"the check 'negation' is about the label 'postive', which is none of validate.contract.labels "
         r"\(did you mean 'positive'\?\): 'negative', 'positive'"),
        ([{"kind": "minimum", "label": "positive"}], r"has no texts; give texts, or templates with fill"),
        ([PLAIN | {"label": "glad"}], r"the check 'minimum glad' is about the label 'glad', which is none of"),
        ([PLAIN | {"fill": {"thing": ["film"]}}], r"templates have the field {quality}, which fill gives no values"),
        ([PLAIN | {"fill": {**FILL, "thing": []}}], r"checks.0.fill.thing: tuple should have at least 1 item"),
        ([PLAIN | {"fill": {**FILL, "place": ["here"]}}], r"fill has 'place', which is the field of no template"),
        ([PLAIN | {"templates": ["A {Quality} {thing}."]}], r"'A {Quality} {thing}\.' has a brace that makes no field"),
        ([PLAIN | {"templates": ["A film {"]}], r"has a brace that makes no field"),
        ([{**PLAIN, "templates": ["{a} {b} {c} {d}"], "fill": {k: [str(n) for n in range(40)] for k in "abcd"}}],
         r"'{a} {b} {c} {d}' makes 2,560,000 texts, and 1,000,000 are allowed; give fewer values"),
    ],
)  # fmt: skip
def test_checks_that_cannot_be_asked_are_told_with_their_place(checks: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ParamsError, match=message) as told:
        parsed(*checks)
    assert "recipes.movie" in str(told.value)


@pytest.mark.parametrize(("key", "value"), [("rows", 0), ("seed", -1)])
def test_a_section_out_of_range_is_refused(key: str, value: int) -> None:
    with pytest.raises(ParamsError, match=rf"movie.evaluate.behaviour.{key}: input should be greater"):
        parsed({"kind": "typos"}, **{key: value})


def test_checks_are_for_texts_only() -> None:
    raw = copy.deepcopy(load_yaml(ROOT / "params.yaml")["recipes"]["digits"])
    raw["evaluate"]["behaviour"] = {"seed": 0, "rows": 20, "checks": [{"kind": "typos"}]}
    with pytest.raises(ParamsError, match=r"evaluate.behaviour: unknown key"):
        parse_recipe("digits", raw)
