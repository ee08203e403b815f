"""The drawing of trials, by Optuna: asked in waves and told in order, so that the same are drawn by any number of
workers and after any kill.

Optuna keeps the study in a file that `optuna-dashboard` opens. Its samplers keep the state of their random numbers in
memory alone, so each trial is drawn by a new sampler, seeded by the sweep's seed and the trial's number.
"""

import warnings
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from components.params.sweep import Choice, Range, Sweep
from flows.sweep.judging.front import figure_of, misses_of
from flows.sweep.settings.space import Settings, draw, grid_of, is_within
from flows.sweep.trials.trial import Trial

FILE = "study.db"
SETTINGS = "settings"
"""The attribute of a trial in the study that holds what was drawn, by path."""
BEGUN = (TrialState.RUNNING, TrialState.WAITING)
"""The states of trials that are drawn and not told yet."""
STATES = {"done": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


def distribution_of(one: Choice | Range) -> BaseDistribution:
    if isinstance(one, Choice):
        return CategoricalDistribution(list(one.choices))
    if one.integer is not None:
        return IntDistribution(*one.integer)
    return FloatDistribution(*one.ends, log=one.log is not None)


def as_running(trial: FrozenTrial) -> FrozenTrial:
    """Return a trial that waits for a larger budget as one of a wave that runs: what is drawn does not hang on that."""
    if trial.state is not TrialState.WAITING:
        return trial
    return optuna.trial.create_trial(
        state=TrialState.RUNNING, params=trial.params, distributions=trial.distributions, user_attrs=trial.user_attrs
    )


def first_value(trial: FrozenTrial) -> float:
    return trial.values[0]


class Study:
    """The trials of a sweep, as they are drawn and told."""

    def __init__(self, folder: Path, name: str, sweep: Sweep, raw: Mapping[str, Any]) -> None:
        """Open the study in a folder, or begin it there."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        folder.mkdir(parents=True, exist_ok=True)
        self.sweep, self.raw = sweep, raw
        self.study = optuna.create_study(
            storage=f"sqlite:///{folder / FILE}", study_name=name, load_if_exists=True,
            directions=list(sweep.directions),
            pruner=optuna.pruners.NopPruner(),  # between waves, by our own rule
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self.study.set_metric_names(list(sweep.objectives))  # for Optuna's own pages

    @property
    def trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def begin(self, present: Trial) -> None:
        """Tell the present settings, as the first trial, where that is not told yet."""
        if self.trials:
            return
        inside = {path: value for path, value in present.settings.items() if is_within(self.sweep.space[path], value)}
        self.study.add_trial(optuna.trial.create_trial(
            state=TrialState.COMPLETE, values=self.values(present), constraints=self.constraints(present),
            params=inside,
            distributions={path: distribution_of(self.sweep.space[path]) for path in inside},
            user_attrs={SETTINGS: dict(present.settings)},
        ))  # fmt: skip

    def wave(self) -> dict[int, Settings]:
        """Return the settings of the trials that are to run now, by number: those of the last wave that are not told
        yet, or a new wave; empty once the budget of trials, or the grid, is used up.

        Whole waves are drawn, whatever the budget is, and wait for a larger one: so that one draws the same.
        """
        self.keep_states()
        begun = [trial for trial in self.trials if trial.state in BEGUN]
        last = len(self.trials) - 1
        if not begun and last + 1 >= self.sweep.trials:
            return {}
        first = begun[0].number if begun else last + 1
        end = (first - 1) // self.sweep.wave * self.sweep.wave + self.sweep.wave  # trial 0 belongs to no wave
        # All of a wave are drawn before any of them runs: where one is told, nothing is left to be drawn.
        is_whole = bool(begun) and any(trial.state not in BEGUN for trial in self.trials[first:])
        found = {trial.number: dict(trial.user_attrs[SETTINGS]) for trial in begun}
        for number in range(last + 1, 1 + (last if is_whole else end)):
            drawn = self.ask(number)
            if drawn is None:
                break
            found[number] = drawn
        self.keep_states()
        return {number: drawn for number, drawn in found.items() if number < self.sweep.trials}

    def keep_states(self) -> None:
        """Let those that the budget has no room for wait, as Optuna's pages then show them."""
        for trial in self.trials:
            wanted = TrialState.RUNNING if trial.number < self.sweep.trials else TrialState.WAITING
            if trial.state in BEGUN and trial.state is not wanted:
                self.study._storage.set_trial_state_values(trial._trial_id, wanted)  # pyright: ignore[reportPrivateUsage]

    def ask(self, number: int) -> Settings | None:
        """Draw the trial of this number and note it, whole or not at all; None where the grid has no more."""
        if self.sweep.sampler == "grid":
            drawn = next(islice(grid_of(self.sweep), number - 1, None), None)
        else:
            drawn = self.drawn(number)
        if drawn is None:
            return None
        self.study.add_trial(optuna.trial.create_trial(
            state=TrialState.RUNNING, params=drawn, user_attrs={SETTINGS: drawn},
            distributions={path: distribution_of(self.sweep.space[path]) for path in drawn},
        ))  # fmt: skip
        return drawn

    def drawn(self, number: int) -> Settings:
        """Draw in a copy of the study in memory: a kill must not leave a trial half drawn in its file."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            copy = optuna.create_study(directions=self.study.directions, sampler=self.sampler(number))
        copy.add_trials([as_running(trial) for trial in self.trials])
        return draw(copy.ask(), self.sweep, self.raw)

    def sampler(self, number: int) -> optuna.samplers.BaseSampler:
        seed = int(np.random.default_rng([self.sweep.seed, number]).integers(2**31))
        if self.sweep.sampler == "tpe":
            # The others of a wave count as bad until they are known, so that it does not draw near them again.
            return optuna.samplers.TPESampler(seed=seed, constant_liar=True)
        return optuna.samplers.RandomSampler(seed=seed)

    def tell(self, trials: Sequence[Trial]) -> None:
        """Tell how the trials of a wave ended, in the order of their numbers."""
        known = {trial.number: trial for trial in self.trials}
        for one in sorted(trials, key=lambda one: one.number):
            if known[one.number].state not in BEGUN:
                continue
            number = known[one.number]._trial_id  # pyright: ignore[reportPrivateUsage]  # Optuna's own pages use it
            handle = optuna.Trial(self.study, number)
            for step, (_, value) in enumerate(one.curve):
                # Optuna keeps no course of several objectives.
                if len(self.sweep.objectives) == 1 and step not in known[one.number].intermediate_values:
                    handle.report(value, step)
            for name, miss in self.constraints(one).items():
                if name not in known[one.number].constraints:
                    handle.set_constraint(name, miss)
            self.study.tell(one.number, self.values(one), state=STATES[one.state])

    def values(self, trial: Trial) -> list[float] | None:
        """Return the objectives of a trial that is done; None of any other."""
        found = [figure_of(trial, name, self.sweep) for name in self.sweep.objectives]
        return [value for value in found if value is not None] if trial.state == "done" else None

    def constraints(self, trial: Trial) -> dict[str, float]:
        """Return by how much a trial that is done misses each constraint, as Optuna has it: above 0 where it does."""
        return misses_of(trial, self.sweep) if trial.state == "done" else {}

    def importances(self) -> dict[str, float]:
        """Return how much of the first objective's spread each setting explains (fANOVA, Hutter et al. 2014).

        Empty where the finished trials are too few, or alike.
        """
        try:
            found = optuna.importance.get_param_importances(
                self.study, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0),
                target=None if len(self.sweep.objectives) == 1 else first_value,
            )  # fmt: skip
        except (ValueError, RuntimeError):
            return {}
        return {name: float(value) for name, value in found.items()}


def rungs_of(sweep: Sweep, before: Sequence[Trial]) -> list[tuple[float, float]]:
    """Return the epochs after which a trial is compared, and the objective that it must have reached by each to go on:
    that of the best one in `factor` of all, itself among them, and where these are fewer, of the best (ASHA, Li et al.
    2020)."""
    if sweep.pruner is None:
        return []
    found: list[tuple[float, float]] = []
    epoch, sign = float(sweep.pruner.first_epoch), 1 if sweep.minimizes else -1
    while True:
        there = sorted(
            min(sign * value for at, value in one.curve if at <= first)
            for one in before
            if (first := next((at for at, _ in one.curve if at >= epoch), None)) is not None
        )
        if not there:
            return found
        last = max((len(there) + 1) // sweep.pruner.factor, 1) - 1
        found.append((epoch, sign * there[last]))
        epoch *= sweep.pruner.factor
