import copy
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from components.plumbing.errors import ParamsError
from components.recipes import load_recipe, load_yaml, parse_recipe

ROOT = Path(__file__).parent.parent


@pytest.fixture
def raw() -> dict:
    return copy.deepcopy(load_yaml(ROOT / "params.yaml")["recipes"]["movie_sentiment"])


def faults_of(raw: dict, name: str = "movie") -> list[str]:
    with pytest.raises(ParamsError) as caught:
        parse_recipe(name, raw)
    assert caught.value.exit_code == 2
    return [line.strip() for line in str(caught.value).splitlines()[1:]]


def test_every_recipe_of_the_project_is_sound() -> None:
    names = list(load_yaml(ROOT / "params.yaml")["recipes"])
    assert names
    for name in names:
        assert load_recipe(ROOT, name)


def test_every_fault_is_reported_at_once_with_its_path(raw: dict) -> None:
    raw["finetune"]["epoch"] = raw["finetune"].pop("epochs")
    raw["finetune"]["batch_size"] = "many"
    raw["preprocess"]["split"]["test"] = 0.7
    raw["compress"]["candidates"][1]["sparsity"] = float("inf")
    raw["evaluat"] = raw.pop("evaluate")
    faults = "\n".join(faults_of(raw))
    assert "recipes.movie.finetune.epochs: missing" in faults
    assert "recipes.movie.finetune.epoch: unknown key (did you mean 'epochs'?)" in faults
    assert (
        "recipes.movie.finetune.batch_size: it must be a number of rows, 1 or more, or 'full'; the value is \"many\""
        in faults
    )
    assert "recipes.movie.preprocess.split.test: input should be less than 0.5; the value is 0.7" in faults
    assert "recipes.movie.compress.candidates.1.sparsity: " in faults
    assert "recipes.movie.evaluate: missing" in faults
    assert "recipes.movie.evaluat: unknown key (did you mean 'evaluate'?)" in faults
    assert len(faults.splitlines()) == 7


@pytest.mark.parametrize("value", ["3", 2.5, True, None, [1]])
def test_wrong_type_is_refused(raw: dict, value: Any) -> None:
    raw["finetune"]["epochs"] = value
    assert len(faults_of(raw)) == 1


def test_setting_that_cannot_take_effect_is_refused(raw: dict) -> None:
    raw["finetune"]["optimizer"]["momentum"] = 0.9
    assert "adamw takes betas and no momentum" in faults_of(raw)[0]


def test_value_of_an_address_stays_out_of_the_fault(raw: dict) -> None:
    raw["ingest"]["source"] = {"kind": "url", "url": "ftp://me:hunter2@host/x.csv", "sha256": "0" * 64, "max_bytes": 9}
    fault = faults_of(raw)[0]
    assert "recipes.movie.ingest.source.url: string should match pattern" in fault
    assert "hunter2" not in fault


def test_watch_of_a_file_source_is_the_file(raw: dict) -> None:
    raw["ingest"]["source"] = {"kind": "file", "path": "rows.csv"}
    assert "for a file source it is source.path ('rows.csv')" in faults_of(raw)[0]


def test_name_that_would_be_a_path_is_refused(raw: dict) -> None:
    assert "a name is lower-case letters" in faults_of(raw, "../escape")[0]


def test_unknown_recipe_gets_a_hint() -> None:
    with pytest.raises(ParamsError, match=r"no recipe 'movie_sentimental' .* .did you mean 'movie_sentiment'"):
        load_recipe(ROOT, "movie_sentimental")


def bomb(several: str) -> str:
    """A few lines that stand for more than a machine can hold."""
    lines = ["a: &a " + several.format("x, " * 9 + "x") if several[0] == "[" else "a: &a {x: 1, y: 2}"]
    for before, name in pairwise("abcdefghijk"):
        lines.append(f"{name}: &{name} " + several.format(", ".join([f"*{before}"] * 10)))
    return "\n".join([*lines, "recipes: {a: *k}"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("recipes: [", "is not YAML"),
        ("recipes: {a: 1}\nrecipes: {b: 2}", "is not YAML.*duplicate key"),
        ("recipes:", "has no recipes"),
        ("recipes: {'x$(touch PWNED)': 1}", r"'x\$\(touch PWNED\)' is no name of a recipe"),
        ("recipes: {good: 1, ../x: 1}", r"'\.\./x' is no name of a recipe"),
        ("recipes: {7: 1}", "7 is no name of a recipe"),
        ("recipes: {a: " + "1" * 5000 + "}", "line 1: a number of 5,000 characters"),
        ("recipes: {a: {? [b, c] : 1}}", "line 1: a key is a list or a mapping"),
        ("recipes: {a: &a [*a]}", "line 1: what is named there by '&' holds itself"),
        ("recipes: {a: &a {<<: *a}}", "holds itself"),
        (bomb("[{}]"), "it stands for 1,111,111 values in 7 levels through its aliases"),
        (bomb("{{<<: [{}]}}"), "it stands for .* values in .* levels through its aliases"),
        ("a0: &a0 1\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 900)), "61 levels through its aliases"),
        ("recipes: " + "[" * 100_000, "line 1: nested deeper than 60 levels"),  # libyaml would end the process
        ("recipes: {a: 2001-99-99}", "is not YAML: month must be in 1..12"),
        ("#" + "x" * 5_000_000, "at most 5,000,000 are read"),
        ("- 1", "has no recipes"),
    ],
)
def test_file_that_is_no_params_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(ParamsError, match=message):
        load_yaml(tmp_path / "params.yaml")


def test_missing_file_says_where_to_be(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="is missing; run this in the project's folder"):
        load_yaml(tmp_path / "params.yaml")
