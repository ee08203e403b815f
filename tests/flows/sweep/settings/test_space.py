"""What may be searched: the faults that are said before any trial, and the recipe of a trial."""

import copy
import json
from typing import Any

import pytest
from pydantic import ValidationError

from components.params.sweep import Sweep
from components.plumbing.errors import InputError, ParamsError
from components.recipes import load_yaml, parse_recipe
from flows.sweep.settings.space import (
    brief,
    check_figures,
    check_space,
    draw,
    for_a_trial,
    grid_of,
    present_of,
    with_settings,
)
from tests.projects import ROOT, tiny_recipe

RATE = "finetune.optimizer.learning_rate"


def sweep_of(space: dict[str, Any], **other: Any) -> Sweep:
    return Sweep.model_validate_json(json.dumps({"space": space, "trials": 8} | other))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"space": {}}, "at least 1 item"),
        ({"space": {RATE: {"log": [0, 1]}}}, "a logarithm needs numbers above 0"),
        ({"space": {RATE: {"log": [1e-3, 1e-5]}}}, "the first end must be the smaller one"),
        ({"space": {RATE: {"log": [1e-5, 1e-3], "uniform": [0, 1]}}}, "takes one of choices, uniform, log and integer"),
        ({"space": {RATE: []}}, "at least 1 item"),
        ({"space": {RATE: [1e-3, 1e-3]}}, "choices has a value twice"),
        ({"space": {RATE: {"log": [1e-5, 1e-3]}}, "sampler": "grid"}, "a grid has no real numbers"),
        ({"space": {RATE: [1e-3]}, "trials": 0}, "greater than or equal to 1"),
        ({"space": {RATE: [1e-3]}, "limit_s": 0}, "greater than or equal to 1"),
        ({"space": {RATE: [1e-3]}, "objective": "test_accuracy"}, "no figure that trials are judged by"),
    ],
)
def test_section_that_cannot_be_searched_is_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        sweep_of(**given)


@pytest.mark.parametrize(
    ("space", "told"),
    [
        ({"finetune.optimiser.learning_rate": [1e-3]}, r"no setting 'finetune.optimiser.*did you mean"),
        ({"finetune.optimizer.learning_rat": [1e-3]}, "did you mean 'finetune.optimizer.learning_rate'"),
        ({"finetune.batch_size": [16, 0]}, "finetune.batch_size = 0 is not allowed"),
        ({"finetune.batch_size": [16, "many"]}, "finetune.batch_size = 'many' is not allowed"),
        ({"evaluate.gate.min": [0.1, 0.2]}, "no setting of preprocess, pretrain, finetune, which are searched"),
        ({"finetune": [1, 2]}, "no setting of preprocess, pretrain, finetune, which are searched"),
        ({"preprocess.split.seed": [1, 2]}, "it changes the rows that trials are judged on"),
        ({"pretrain.objective.share": [0.1, 0.2]}, "it is what trials are judged by"),
        ({"finetune.control": [True, False]}, "the control is not judged"),
        ({"finetune.mode": ["adapt"]}, "it is another recipe"),
        ({RATE: {"log": [1e-5, 1e-3], "when": {"finetune.nothing": 1}}}, "which the recipe does not have"),
        (
            {RATE: {"log": [1e-5, 1e-3], "when": {"finetune.batch_size": 16}}, "finetune.batch_size": [16, 32]},
            "which must come before it in the space",
        ),
    ],
)
def test_space_that_fits_no_recipe_is_named(space: dict[str, Any], told: str) -> None:
    with pytest.raises(ParamsError, match=told):
        check_space("tiny", tiny_recipe(), sweep_of(space))


def test_setting_of_a_stage_that_trains_nothing_is_named() -> None:
    recipes = load_yaml(ROOT / "params.yaml")["recipes"]
    space = {"pretrain.epochs": [1, 2], "finetune.epochs": [1, 2]}
    with pytest.raises(ParamsError, match=r"'finetune.epochs' takes no effect: pretrain is this"):
        check_space("speech_gpt", recipes["speech_gpt"], sweep_of(space))
    with pytest.raises(ParamsError, match="take an objective by the byte"):
        check_space("speech_gpt", recipes["speech_gpt"], sweep_of({"preprocess.tokenizer.vocab_size": [512, 1024]}))


def test_figure_that_is_not_measured_is_named_with_those_that_are() -> None:
    sweep = sweep_of({RATE: [1e-3]}, objective="validation_acuracy")
    with pytest.raises(InputError, match=r"did you mean 'validation_accuracy'.*it measures validation_accuracy"):
        check_figures(sweep, {"validation_accuracy": 0.5, "train_loss": 0.1})


def test_loss_is_minimized_and_all_else_maximized_unless_said() -> None:
    assert sweep_of({RATE: [1e-3]}).minimizes
    assert not sweep_of({RATE: [1e-3]}, objective="validation_accuracy").minimizes
    assert sweep_of({RATE: [1e-3]}, objective="validation_accuracy", direction="minimize").minimizes


def test_trial_has_the_drawn_values_and_no_control_and_leaves_the_recipe_alone() -> None:
    raw = tiny_recipe()
    raw["finetune"] |= {"control": True, "precision": "auto"}
    before = copy.deepcopy(raw)
    changed = for_a_trial(raw, {RATE: 1e-4, "finetune.batch_size": 32}, precision="bf16")
    recipe: Any = parse_recipe("tiny", changed)
    assert recipe.finetune.optimizer.learning_rate == 1e-4
    assert recipe.finetune.batch_size == 32
    assert not recipe.finetune.control
    assert recipe.finetune.precision == "bf16"
    assert raw == before
    assert with_settings(raw, {}) == raw


def test_grid_goes_through_all_combinations() -> None:
    sweep = sweep_of({"finetune.batch_size": [16, 32], "finetune.epochs": {"integer": [1, 3]}}, sampler="grid")
    assert [tuple(one.values()) for one in grid_of(sweep)] == [(b, e) for b in (16, 32) for e in (1, 2, 3)]


def test_setting_with_a_condition_is_drawn_where_it_holds() -> None:
    import optuna

    sweep = sweep_of({
        "finetune.batch_size": [16, 32], RATE: {"log": [1e-5, 1e-3], "when": {"finetune.batch_size": [32, 64]}},
    })  # fmt: skip
    raw = tiny_recipe()
    for size in (16, 32):
        study = optuna.create_study()
        study.enqueue_trial({"finetune.batch_size": size, RATE: 0.00012345678})
        drawn = draw(study.ask(), sweep, raw)
        assert drawn == {"finetune.batch_size": size} | ({RATE: 0.0001235} if size == 32 else {})
    assert present_of(sweep, raw) == {"finetune.batch_size": raw["finetune"]["batch_size"]}


def test_entry_of_a_list_is_a_setting() -> None:
    raw = copy.deepcopy(load_yaml(ROOT / "params.yaml")["recipes"]["digits"])
    path = "finetune.model.hidden_sizes.1"
    sweep = sweep_of({path: [32, 64], RATE: [1e-3]})
    check_space("digits", raw, sweep)
    assert present_of(sweep, raw) == {path: 64, RATE: 3e-3}
    changed: Any = parse_recipe("digits", with_settings(raw, {path: 32}))
    assert changed.finetune.model.hidden_sizes == (64, 32)
    assert brief(path) == "hidden_sizes.1"
    with pytest.raises(ParamsError, match=r"no setting 'finetune.model.hidden_sizes.2'"):
        check_space("digits", raw, sweep_of({"finetune.model.hidden_sizes.2": [32, 64]}))


def test_recipes_of_the_project_have_sweeps_that_fit() -> None:
    recipes = load_yaml(ROOT / "params.yaml")["recipes"]
    swept = [name for name, raw in recipes.items() if raw.get("sweep")]
    assert swept
    for name in swept:
        sweep = parse_recipe(name, recipes[name]).sweep
        assert sweep is not None
        check_space(name, recipes[name], sweep)
