import re
from copy import deepcopy
from typing import Any

import pytest

from components.package.card import row_of_gate
from components.package.gates import gates_passed
from components.recipes import load_yaml
from components.tasks import task_of
from tests.projects import ROOT

RECIPES = load_yaml(ROOT / "params.yaml")["recipes"]
COMPRESSED = {
    "metric": "accuracy", "float_validation_quality": 0.88, "validation_quality": 0.875, "size_ratio": 0.25,
    "batch_size": 1,
}  # fmt: skip


def gates_of(recipe: str, evaluated: dict[str, Any]) -> dict[tuple[str, str], tuple[float | None, str, float]]:
    """What stands for a recipe of the project, by stage and figure."""
    params = RECIPES[recipe]
    reports = {
        "verdict": {"expectations": [{"success": True}] * 3},
        "evaluated": evaluated,
        "compressed": COMPRESSED,
    }
    found = gates_passed(reports=reports, params=params, num_golden=7, drop=task_of(params["task"]).drop)
    return {(one["stage"], one["figure"]): (one["value"], one["bound"], one["limit"]) for one in found}


def test_every_limit_of_a_classifier_stands_with_its_figure() -> None:
    gate = RECIPES["movie_sentiment"]["evaluate"]["gate"]
    limits = RECIPES["movie_sentiment"]["compress"]["gate"]
    assert gates_of("movie_sentiment", {"accuracy": 0.881, "gain_low": 0.046}) == {
        ("validate", "expectations of the data contract met"): (3, "at least", 3),
        ("preprocess", "rows that come again in another split"): (None, "at most", 0),
        ("evaluate", "accuracy"): (0.881, "at least", gate["min"]),
        ("evaluate", "gain, lower end"): (0.046, "above", gate["min_gain"]),
        ("compress", "accuracy, worse than the float model's"): (0.005, "at most", limits["max_drop"]),
        ("compress", "size_ratio"): (0.25, "at most", limits["max_size_ratio"]),
        ("compress", "speedup"): (None, "at least", limits["min_speedup"]),
        ("package", "requests answered as the measured model did"): (7, "at least", 7),
    }


def test_limits_of_behaviour_and_of_the_surest_answers_stand_too() -> None:
    params = deepcopy(RECIPES["movie_sentiment"])
    params["evaluate"]["calibrate"] = {"method": "temperature", "min_class_rows": 5, "precision": 0.95}
    params["evaluate"]["behaviour"] = {
        "seed": 0, "rows": 20, "checks": [
            {"kind": "typos", "max_failures": 0.1},
            {"kind": "case"},
            {"kind": "minimum", "label": "positive", "texts": ["Great."], "max_failures": 0},
            {"kind": "negation", "name": "negated | praise", "min_fall": 0.1, "max_failures": 0.5},
        ],
    }  # fmt: skip
    reports = {"verdict": {}, "evaluated": {"accuracy": 0.9, "gain_low": 0.1}, "compressed": COMPRESSED}
    found = gates_passed(reports=reports, params=params, num_golden=7, drop=task_of(params["task"]).drop)
    limits = {one["figure"]: (one["value"], one["bound"], one["limit"]) for one in found}
    assert {name: limit for name, limit in limits.items() if "the check" in name} == {
        "texts that fail the check 'typos'": (None, "at most", 0.1),
        "texts that fail the check 'minimum positive'": (None, "at most", 0.0),
        "texts that fail the check 'negated | praise'": (None, "at most", 0.5),
    }
    assert limits["right ones among the surest answers"] == (None, "at least", 0.95)
    rows = [row_of_gate(one) for one in found]
    assert "| evaluate | texts that fail the check 'typos' | passed | at most 0.1 |" in rows
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 5 for row in rows)


def test_language_model_names_what_it_beats() -> None:
    found = gates_of("speech_gpt", {"gain_xz_low": 0.66, "gain_byte_ngram_low": 0.22, "gain_token_ngram_low": -0.1})
    judged = {figure: value for (stage, figure), (value, *_) in found.items() if stage == "evaluate"}
    assert judged == {"gain_xz, lower end": 0.66, "gain_byte_ngram, lower end": 0.22}
    assert found["compress", "accuracy, worse than the float model's"][0] == -0.005  # of bits, fewer are better


def test_generator_of_images_names_every_limit() -> None:
    evaluated = {"frechet_ratio": 0.02, "max_class_share": 0.11, "diversity": 0.98, "classifier_accuracy": 0.97}
    judged = {
        figure: (value, bound)
        for (stage, figure), (value, bound, _) in gates_of("digit_gan", evaluated).items()
        if stage == "evaluate"
    }
    assert judged == {
        "frechet_ratio": (0.02, "at most"),
        "max_class_share": (0.11, "at most"),
        "diversity": (0.98, "at least"),
        "classifier_accuracy": (0.97, "at least"),
    }


@pytest.mark.parametrize("recipe", RECIPES)
def test_no_limit_of_a_recipe_is_left_out(recipe: str) -> None:
    class Any_(dict[str, float]):
        """A report that has every figure."""

        def __missing__(self, _: str) -> float:
            return 1.0

    gate = RECIPES[recipe]["evaluate"]["gate"]
    named = [name for name, limit in gate.items() if limit is not None and name not in ("metric", "beat")]
    judged = [figure for stage, figure in gates_of(recipe, Any_()) if stage == "evaluate"]
    assert len(judged) == len(named) + max(0, len(gate.get("beat", [])) - 1)


def test_model_in_batches_has_a_gate_on_its_answers() -> None:
    reports = {
        "verdict": {}, "evaluated": {"accuracy": 0.9, "gain_low": 0.1}, "compressed": COMPRESSED | {"batch_size": 8},
    }  # fmt: skip
    *_, last = gates_passed(reports=reports, params={}, num_golden=7, drop=task_of("text_classification").drop)
    assert (last["stage"], last["figure"], last["value"], last["bound"], last["limit"]) == (
        "package", "requests whose answer depends on what else is asked", 0, "at most", 0,
    )  # fmt: skip
