"""Which trials are the best: the Pareto front, within constraints, and the nearest where none is."""

import json
import math
import random
from typing import Any

import pytest
from pydantic import ValidationError

from components.params.sweep import Constraint, Sweep
from flows.sweep.judging.front import best_of, front_of, is_within, misses_in_words, misses_of, nearest_of, ranked
from flows.sweep.judging.verdict import words_of
from flows.sweep.study import Study
from flows.sweep.trials.trial import Trial

RATE = "finetune.optimizer.learning_rate"
THREE = ["validation_accuracy", "rows_per_s", "size_bytes"]


def sweep_of(**other: Any) -> Sweep:
    return Sweep.model_validate_json(json.dumps({"space": {RATE: {"log": [1e-5, 1e-2]}}, "trials": 9} | other))


def trial(number: int, accuracy: float, speed: float, size: float, **other: Any) -> Trial:
    figures = {
        "validation_accuracy": accuracy,
        "rows_per_s": speed,
        "size_bytes": size,
        "validation_loss": 1 - accuracy,
    }
    return Trial(number, {RATE: 1e-4 * (number + 1)}, "done", accuracy, figures, **other)


TRIALS = [
    trial(0, 0.90, 100, 1000), trial(1, 0.95, 80, 2000), trial(2, 0.94, 80, 2000), trial(3, 0.80, 200, 500),
    trial(4, 0.95, 80, 2000), trial(5, 0.80, 150, 500), Trial(6, {}, "failed"),
]  # fmt: skip


def test_front_holds_what_no_other_is_better_than_in_all_and_of_equals_the_earliest() -> None:
    sweep = sweep_of(objective=THREE)
    assert [one.number for one in front_of(TRIALS[::-1], sweep)] == [1, 0, 3]
    best = best_of(TRIALS, sweep)
    assert best is not None
    assert best.number == 1


def test_front_is_that_of_optuna(tmp_path: Any) -> None:
    chance = random.Random(0)
    sweep = sweep_of(objective=THREE, constraints={"size_bytes": {"max": 700}}, sampler="random", trials=40)
    study = Study(tmp_path, "x", sweep, {"finetune": {"optimizer": {"learning_rate": 1e-3}}})
    trials = [trial(0, 0.5, 100, 1000)]
    study.begin(trials[0])
    while wave := study.wave():
        ended = [trial(n, chance.randint(0, 9) / 10, chance.randint(1, 9), chance.randint(1, 10) * 100) for n in wave]
        study.tell(ended)
        trials += ended
    assert len(trials) == 40
    values = sorted({tuple(one.values) for one in study.study.best_trials})
    assert len(values) > 2
    assert sorted(tuple(one.figures[name] for name in THREE) for one in front_of(trials, sweep)) == values
    assert study.study.metric_names == THREE


def test_trial_outside_of_a_constraint_is_never_the_best() -> None:
    sweep = sweep_of(objective="validation_accuracy", constraints={"size_bytes": {"max": 1000}})
    assert [one.number for one, _ in ranked(TRIALS, sweep)] == [0, 3, 5]
    assert not is_within(TRIALS[1], sweep)
    assert [one.number for one in front_of(TRIALS, sweep)] == [0]
    # A figure that is not known keeps nothing.
    assert not is_within(Trial(1, {}, "done", 0.99, {"validation_accuracy": 0.99}), sweep)


def test_nearest_is_named_with_what_it_misses() -> None:
    limits = {"size_bytes": {"max": 400.0}, "validation_accuracy": {"min": 0.9}}
    sweep = sweep_of(objective="rows_per_s", constraints=limits)
    assert best_of(TRIALS, sweep) is None
    nearest = nearest_of(TRIALS, sweep)
    assert nearest is not None
    assert nearest.number == 3
    assert misses_of(nearest, sweep) == pytest.approx({"size_bytes": 0.25, "validation_accuracy": 1 / 9})
    said = "size_bytes 500 is 100 above max 400 (25.0%) and validation_accuracy 0.8 is 0.1 below min 0.9 (11.1%)"
    assert misses_in_words(nearest, sweep) == said
    assert f"the nearest is trial 3: {said}; move a limit" in words_of(TRIALS, None, sweep, {})


def test_limit_of_nothing_is_missed_by_what_is_there() -> None:
    assert Constraint(max=0.0).miss(0.5) == 0.5
    assert Constraint(min=1.0, max=2.0).miss(1.5) == 0


def test_words_tell_the_other_objectives_and_why_there_is_no_comparison() -> None:
    sweep = sweep_of(objective=THREE)
    said = words_of(TRIALS, TRIALS[1], sweep, {})
    assert "not compared on the test split: evaluate leaves no answers by row" in said
    assert "rows_per_s 80 beside 100; size_bytes 2,000 beside 1,000" in said
    found = {"num_rows": 9, "metric": "accuracy", "winner": 0.8, "present": 0.9, "gain": -0.1, "gain_low": -0.2,
             "gain_high": 0.0, "is_surely_better": False}  # fmt: skip
    assert "it was worse by 0.1000 of validation_accuracy, given up" in words_of(TRIALS, TRIALS[3], sweep, found)


def test_direction_follows_from_the_name() -> None:
    sweep = sweep_of(objective=["validation_bits_per_byte", "speedup", "size_bytes"])
    assert list(sweep.directions) == ["minimize", "maximize", "minimize"]
    assert (sweep.followed, sweep.is_timed, sweep.is_exported) == ("validation_bits_per_byte", True, True)
    speed = sweep_of(objective="speedup", constraints={"validation_accuracy": {"min": 0.9}})
    assert (speed.followed, speed.minimizes_followed) == ("validation_loss", True)
    assert not sweep_of().is_exported


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"objective": ["validation_loss", "validation_loss"]}, "has a figure twice"),
        ({"objective": []}, "at least 1 item"),
        ({"objective": THREE, "direction": "maximize"}, "direction has 1 entries for 3 objectives"),
        ({"objective": ["validation_loss", "latency"]}, "'latency' is no figure that trials are judged by"),
        ({"objective": THREE, "pruner": {"name": "asha"}}, "take it out"),
        ({"constraints": {"size_bytes": {"max": 1.0}}, "pruner": {"name": "asha"}}, "take it out"),
        ({"constraints": {"size_bytes": {}}}, "takes min, max or both"),
        ({"constraints": {"size_bytes": {"min": 2.0, "max": 1.0}}}, "no trial could keep both"),
        ({"constraints": {"test_accuracy": {"min": 0.9}}}, "no figure that trials are judged by"),
    ],
)
def test_objectives_that_cannot_be_judged_are_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        sweep_of(**given)


def test_figure_that_is_not_known_is_missed_without_end() -> None:
    sweep = sweep_of(constraints={"size_bytes": {"max": 1.0}})
    assert misses_of(Trial(1, {}, "done", 0.5), sweep) == {"size_bytes": math.inf}
    assert misses_in_words(Trial(1, {}, "done", 0.5), sweep) == "size_bytes is not known"
