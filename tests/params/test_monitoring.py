import copy
from pathlib import Path

import pytest

from components.plumbing.errors import ParamsError
from components.recipes import load_yaml, parse_recipe

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def raw() -> dict:
    return copy.deepcopy(load_yaml(ROOT / "params.yaml")["recipes"]["movie_sentiment"])


def test_recipe_may_do_without(raw: dict) -> None:
    assert parse_recipe("movie", raw).monitoring is not None
    del raw["monitoring"]
    assert parse_recipe("movie", raw).monitoring is None


@pytest.mark.parametrize(
    ("key", "value", "error"),
    [
        ("window", 99, "window 99 is below min_rows 100"),
        ("num_permutations", 1198, "it needs 1199"),
        ("false_alarms", 0.0001, "it needs 59999"),
        ("false_alarms", 0.5, "less than 0.5"),
        ("min_rows", 5, "greater than or equal to 30"),
        ("max_latency", 5, "unknown key"),
        ("retrain", "sweep", "monitoring.retrain is 'sweep', which searches by the section sweep; add it"),
        ("expected_labels", {"negative": 0.9, "positive": 0.2}, "sum to 1.1; they must sum to 1"),
        ("expected_labels", {"negative": 0.9, "spam": 0.1}, "has 'spam', which is none of validate.contract.labels"),
    ],
)
def test_setting_that_cannot_work_is_refused(raw: dict, key: str, value: object, error: str) -> None:
    raw["monitoring"] |= {key: value}
    with pytest.raises(ParamsError, match=error):
        parse_recipe("movie", raw)
