"""Trials that are the same after any kill: waves that are asked before any is known, and told in order."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest

from components.params.sweep import Sweep
from flows.sweep.judging.front import best_of
from flows.sweep.study import Study, rungs_of
from flows.sweep.trials.trial import Trial, read_trial, write_trial

RATE, SIZE = "finetune.optimizer.learning_rate", "finetune.batch_size"
RAW = {"finetune": {"optimizer": {"learning_rate": 1e-3}, "batch_size": 32}}
PRESENT = Trial(0, {RATE: 1e-3, SIZE: 32}, "done", 0.32)


def sweep_of(**other: Any) -> Sweep:
    given = {"space": {RATE: {"log": [1e-5, 1e-2]}, SIZE: [16, 32, 64]}, "trials": 14, "seed": 3, **other}
    return Sweep.model_validate_json(json.dumps(given))


def ended(number: int, settings: dict[str, Any]) -> Trial:
    value = abs(math.log10(settings[RATE]) + 3) + settings[SIZE] / 100
    if number % 5 == 4:
        return Trial(number, settings, "failed", reason="out of memory")
    return Trial(number, settings, "pruned" if number % 5 == 3 else "done", value, curve=((1.0, 2.0), (2.0, value)))


def gone_through(folder: Path, sweep: Sweep, *, each_wave: Callable[[Study, dict[int, Any]], Study]) -> list[Any]:
    study = Study(folder, "x", sweep, RAW)
    study.begin(PRESENT)
    while wave := study.wave():
        study = each_wave(study, wave)
        study.tell([ended(number, settings) for number, settings in wave.items()])
    return [(trial.state.name, trial.value, trial.user_attrs["settings"]) for trial in study.trials]


def opened_again_within_a_wave(folder: Path, sweep: Sweep) -> Callable[[Study, dict[int, Any]], Study]:
    def each_wave(study: Study, wave: dict[int, Any]) -> Study:
        numbers = list(wave)
        study = Study(folder, "x", sweep, RAW)  # as after a kill while they ran
        assert study.wave() == wave
        study.tell([ended(number, wave[number]) for number in numbers[:1]])
        study = Study(folder, "x", sweep, RAW)  # and after one while they were told
        assert study.wave() == {number: wave[number] for number in numbers[1:]} or len(numbers) == 1
        return study

    return each_wave


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_study_that_is_opened_again_draws_the_same(tmp_path: Path, sampler: str) -> None:
    sweep = sweep_of(sampler=sampler)
    whole = gone_through(tmp_path / "whole", sweep, each_wave=lambda study, _: study)
    again = gone_through(tmp_path / "again", sweep, each_wave=opened_again_within_a_wave(tmp_path / "again", sweep))
    assert whole == again
    # The rest of the last wave waits for a larger budget.
    assert [state for state, _, _ in whole[14:]] == ["WAITING"] * 3
    assert whole[0] == ("COMPLETE", 0.32, {RATE: 1e-3, SIZE: 32})
    others = gone_through(tmp_path / "other", sweep_of(sampler=sampler, seed=4), each_wave=lambda study, _: study)
    assert others != whole


SEVERAL = {"objective": ["validation_loss", "size_bytes"], "constraints": {"validation_loss": {"max": 1.0}}}


def test_several_objectives_within_constraints_are_drawn_the_same_after_kills(tmp_path: Path) -> None:
    sweep = sweep_of(**SEVERAL)

    def with_size(study: Study, wave: dict[int, Any]) -> list[Trial]:
        return [
            replace(one, figures={"size_bytes": 100.0 * one.settings[SIZE]}, state="failed" if one.state == "pruned"
                    else one.state)
            for one in (ended(number, settings) for number, settings in wave.items())
        ]  # fmt: skip

    found: list[list[Any]] = []
    for name in ("whole", "killed"):
        study = Study(tmp_path / name, "x", sweep, RAW)
        study.begin(replace(PRESENT, figures={"size_bytes": 3200.0}))
        while wave := study.wave():
            trials = with_size(study, wave)
            if name == "killed":  # while its first trial was told: its constraint is noted, its end is not
                number = next(one for one in study.trials if one.number == trials[0].number)
                handle = optuna.Trial(study.study, number._trial_id)  # pyright: ignore[reportPrivateUsage]
                for key, miss in study.constraints(trials[0]).items():
                    handle.set_constraint(key, miss)
                study = Study(tmp_path / name, "x", sweep, RAW)
                assert study.wave() == wave
            study.tell(trials)
        found.append(
            [(one.state.name, one.values, one.constraints, one.user_attrs["settings"]) for one in study.trials]
        )
        assert set(study.importances()) == {RATE, SIZE}
    assert found[0] == found[1]
    assert any(constraints["validation_loss"] > 0 for _, values, constraints, _ in found[0] if values)


def test_kill_between_two_draws_leaves_the_wave_to_be_completed(tmp_path: Path) -> None:
    sweep = sweep_of()
    whole, part = Study(tmp_path / "whole", "x", sweep, RAW), Study(tmp_path / "part", "x", sweep, RAW)
    for study in (whole, part):
        study.begin(PRESENT)
    part.ask(1)
    part.ask(2)
    assert Study(tmp_path / "part", "x", sweep, RAW).wave() == whole.wave()


def test_larger_budget_from_the_start_draws_what_a_raised_one_does(tmp_path: Path) -> None:
    def whole(study: Study, _: dict[int, Any]) -> Study:
        return study

    at_once = gone_through(tmp_path / "at_once", sweep_of(trials=17), each_wave=whole)
    for trials in (6, 11, 17):
        raised = gone_through(tmp_path / "raised", sweep_of(trials=trials), each_wave=whole)
    assert raised == at_once


def test_grid_ends_with_its_last_combination(tmp_path: Path) -> None:
    sweep = sweep_of(space={SIZE: [16, 32, 64], RATE: [1e-4, 1e-3]}, sampler="grid", trials=100)
    found = gone_through(tmp_path, sweep, each_wave=lambda study, _: study)
    assert [settings for _, _, settings in found[1:]] == [
        {SIZE: s, RATE: r} for s in (16, 32, 64) for r in (1e-4, 1e-3)
    ]


def test_optuna_s_own_reader_opens_the_study(tmp_path: Path) -> None:
    gone_through(tmp_path, sweep_of(), each_wave=lambda study, _: study)
    read = optuna.load_study(study_name="x", storage=f"sqlite:///{tmp_path / 'study.db'}")
    assert read.best_trial.value is not None
    assert {trial.state.name for trial in read.trials} == {"COMPLETE", "PRUNED", "FAIL", "WAITING"}
    assert set(optuna.importance.get_param_importances(read)) == {RATE, SIZE}


def test_trial_must_be_as_good_as_the_best_third_of_those_before() -> None:
    sweep = sweep_of(pruner={"name": "asha", "first_epoch": 1, "factor": 3}, objective="validation_accuracy")
    before = [Trial(n, {}, "done", 0.9, curve=((1.0, n / 10), (2.0, 0.9), (3.0, n / 20))) for n in range(6)]
    assert rungs_of(sweep, before) == [(1.0, 0.4), (3.0, 0.9)]
    assert rungs_of(sweep, before[:5]) == [(1.0, 0.3), (3.0, 0.9)]  # itself is the sixth
    assert rungs_of(sweep, before[:2]) == [(1.0, 0.1), (3.0, 0.9)]
    assert rungs_of(sweep_of(), before) == []


def test_of_equals_the_present_settings_are_the_best() -> None:
    trials = [Trial(n, {}, "done", value) for n, value in enumerate([0.5, 0.5, 0.7])]
    trials += [Trial(3, {}, "pruned", 0.1), Trial(4, {}, "failed"), Trial(5, {}, "done", math.nan)]
    for direction, number in (("minimize", 0), ("maximize", 2)):
        best = best_of(trials, sweep_of(direction=direction))
        assert best is not None
        assert best.number == number


def test_trial_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_trial(tmp_path / "1") is None
    write_trial(tmp_path / "1", trial := ended(1, {RATE: 1e-4, SIZE: 16}))
    assert read_trial(tmp_path / "1") == trial
