"""sweep: searches better settings of a recipe, judged on the validation split, and compares the best once on the test
split with those that it has.

A sweep can be killed at any moment: the next one carries on with the same trials. Its folder is
`.modelyard/sweeps/<recipe>/<study>`, where a study is one space of one recipe, by one version of the code and the data.
"""

import logging
import os
import signal
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from components.params import Recipe
from components.params.recipe import NO_CHAMPION
from components.params.sweep import Sweep
from components.plumbing.artifacts import REPORT, Layout, digest_of, fingerprint_of, read_json, write_json
from components.plumbing.errors import ArtifactError, InputError
from components.plumbing.lock_file import locked_stages
from components.plumbing.locks import hold
from components.plumbing.logs import say
from components.recipes import PARAMS, load_recipe, load_yaml, parse_recipe, section_of, stages
from components.tracking.store import Store
from flows.pipeline.run import run_pipeline
from flows.sweep.page import write_page
from flows.sweep.space import (
    check_objective,
    check_space,
    first_searched,
    for_a_trial,
    judged_stage,
    present_of,
    with_settings,
)
from flows.sweep.study import Study, best_of, rungs_of
from flows.sweep.tracking import SweepRun
from flows.sweep.trials import PRESENT, Trial, figures_on_validation, read_trial, write_trial
from flows.sweep.verdict import compare
from flows.sweep.work import EXAMINED, Places, curve_of, drop_models, examine, snapshot
from flows.sweep.worker import SPEC
from flows.sweep.workers import workers_for

logger = logging.getLogger(__name__)

FOLDER = ".modelyard/sweeps"
VERDICT, CLOCK = "verdict.json", "clock.json"
VERSION = 1
"""To be raised with each change that makes other trials of the same section."""


@dataclass(frozen=True)
class Plan:
    """A sweep, and all that its trials have in common."""

    root: Path
    name: str
    raw: Mapping[str, Any]
    """The recipe as params.yaml has it."""
    recipe: Recipe
    sweep: Sweep
    judged: str
    """The stage whose report holds the objective."""


@dataclass(frozen=True)
class Found:
    """What a sweep has found so far."""

    plan: Plan
    places: Places
    trials: Sequence[Trial]
    """The trials that have ended, by their number; the first stands for the present settings."""
    verdict: Mapping[str, Any]
    """The comparison of the best settings with the present ones on the test split; empty where these are the best, or
    where the task has no such comparison."""
    run_id: str
    """The id of the sweep's run in MLflow."""

    @property
    def present(self) -> Trial:
        return self.trials[PRESENT]

    @property
    def best(self) -> Trial:
        return best_of(self.trials, minimizes=self.plan.sweep.minimizes)

    @property
    def changes(self) -> dict[str, Any]:
        """The settings of the best trial that are not the present ones."""
        present = present_of(self.plan.sweep, self.plan.raw)
        return {path: value for path, value in self.best.settings.items() if value != present.get(path, ...)}


def plan_of(root: Path, name: str) -> Plan:
    """Read what a recipe's sweep is to do; ParamsError or InputError where it cannot be done."""
    recipe = load_recipe(root, name)
    raw: dict[str, Any] = load_yaml(root / PARAMS)["recipes"][name]
    if recipe.sweep is None:
        raise InputError(
            f"recipes.{name} has no section 'sweep'; add one, for example: "
            "sweep: {space: {finetune.optimizer.learning_rate: {log: [1.0e-5, 1.0e-3]}}, trials: 20}"
        )
    check_space(name, raw, recipe.sweep)
    if recipe.champion not in (None, NO_CHAMPION):
        raise InputError(
            f"recipes.{name} starts from its champion, which may change while a sweep runs; sweep a copy of the recipe "
            "with another source and tokenizer"
        )
    return Plan(root, name, raw, recipe, recipe.sweep, judged_stage(recipe))


def search(root: Path, name: str, *, wait_for_prefect: Callable[[], None] = lambda: None) -> Found:
    """Carry on the sweep of a recipe, or begin it, until its budget is used up; return what it found."""
    plan = plan_of(root, name)
    with hold(root, f"{name}.sweep", doing=f"modelyard sweep {name}", wait=False), ended_by_sigterm():
        say(f"{name}: the present settings first, up to {plan.judged}")
        run_pipeline(
            root, name, refresh=False, force=(), until=plan.judged, wait=True, wait_for_prefect=wait_for_prefect
        )
        folder = root / FOLDER / name / study_of(plan)
        places = Places(root, name, folder)
        snapshot(places, plan.judged)
        present = present_trial(plan, places)
        return carry_on(plan, places, present)


@contextmanager
def ended_by_sigterm() -> Generator[None]:
    """End the block on SIGTERM as on Ctrl-C."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def carry_on(plan: Plan, places: Places, present: Trial) -> Found:
    """Run what is left of the trials, wave by wave, and compare the best with the present settings."""
    sweep = plan.sweep
    study = Study(places.folder, plan.name, sweep, plan.raw)
    study.begin(present)
    run = SweepRun(Store(plan.root, plan.name), places.folder.name, sweep.model_dump(mode="json"))
    status = "FAILED"
    try:
        trials = {PRESENT: noted(run, places, present, sweep)}
        for frozen in study.trials[1:]:
            if (known := read_trial(places.trial(frozen.number))) is not None:
                trials[known.number] = noted(run, places, known, sweep)
        run_waves(plan, places, study, run, trials)
        ordered = [trials[number] for number in sorted(trials)]
        best = best_of(ordered, minimizes=sweep.minimizes)
        verdict = verdict_on(plan, places, best)
        drawn = write_page(
            places.folder / "report", plan.name, sweep, ordered, study.importances(), verdict=verdict or None
        )
        gains = {f"test.{key}": float(value) for key, value in verdict.items() if isinstance(value, int | float)}
        run.end(
            "FINISHED", files=[places.folder / "report/report.html", *drawn],
            figures=gains | {f"best.{sweep.objective}": best.value or 0.0, "trials": len(ordered)},
        )  # fmt: skip
        status = ""
        return Found(plan, places, ordered, verdict, run.run_id)
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        if status:
            with suppress(Exception):
                run.end(status, files=[], figures={})


def run_waves(plan: Plan, places: Places, study: Study, run: SweepRun, trials: dict[int, Trial]) -> None:
    """Run waves until the budget is used up, adding what ends to `trials`."""
    sweep = plan.sweep
    clock = Clock(places.folder / CLOCK, sweep.limit_s)
    count = sweep.workers or max(1, (os.cpu_count() or 1) // sweep.threads)

    def ended(trial: Trial) -> None:
        trials[trial.number] = noted(run, places, trial, sweep)
        clock.tick()
        say(line_of(trial, best_of(list(trials.values()), minimizes=sweep.minimizes), sweep))

    with clock, workers_for(plan.root, places.folder, count=count, threads=sweep.threads) as workers:
        while clock.has_time() and (wave := study.wave()):
            # Those of a wave are compared with the waves before, never with each other: which is first is chance.
            first = (min(wave) - 1) // sweep.wave * sweep.wave + 1
            before = [trial for number, trial in sorted(trials.items()) if number < first]
            for number, settings in wave.items():
                write_spec(plan, places, number, settings, before)
            for trial in copied(places, {n: s for n, s in wave.items() if n not in trials}, before):
                ended(trial)
            todo = [number for number in wave if number not in trials]
            workers.run(todo, ended=ended, may_start=clock.has_time)
            if any(number not in trials for number in wave):
                return  # the time is over
            study.tell([trials[number] for number in wave])
            drop_models(
                places, trials.values(), plan.judged, kept=best_of(list(trials.values()), minimizes=sweep.minimizes)
            )


def write_spec(plan: Plan, places: Places, number: int, settings: Mapping[str, Any], before: Sequence[Trial]) -> None:
    """Write all that a trial is, for the process that runs it; `before` are the trials of the waves before."""
    precision = precision_of(places, plan.judged)
    write_json(places.trial(number) / SPEC, {
        "recipe": plan.name, "settings": dict(settings), "judged": plan.judged, "objective": plan.sweep.objective,
        "minimizes": plan.sweep.minimizes, "rungs": rungs_of(plan.sweep, before),
        "changed": for_a_trial(plan.raw, settings, precision=precision),
        "present": for_a_trial(plan.raw, {}, precision=precision),
    })  # fmt: skip


def copied(places: Places, wave: Mapping[int, Mapping[str, Any]], before: Sequence[Trial]) -> list[Trial]:
    """Return the trials of a wave whose settings were tried in an earlier one: the same work has the same end."""
    known = {repr(sorted(trial.settings.items())): trial for trial in before if trial.state != "failed"}
    found: list[Trial] = []
    for number, settings in wave.items():
        if same := known.get(repr(sorted(settings.items()))):
            reason = f"the same as trial {same.number}"
            trial = replace(same, number=number, settings=dict(settings), seconds=0.0, reason=reason, run_id="")
            write_trial(places.trial(number), trial)
            found.append(trial)
    return found


def noted(run: SweepRun, places: Places, trial: Trial, sweep: Sweep) -> Trial:
    """Make the run of a trial in MLflow where it has none yet; return the trial with it."""
    if trial.run_id:
        return trial
    trial = replace(trial, run_id=run.note(trial, sweep.objective))
    write_trial(places.trial(trial.number), trial)
    return trial


def study_of(plan: Plan) -> str:
    """Return the name of a study: another one where its trials would be other work, the same with another budget."""
    order = stages()
    first, last = order.index(first_searched(plan.sweep)), order.index(plan.judged)
    locked = locked_stages(plan.root)
    settings = {stage: section_of(plan.recipe, stage).model_dump(mode="json") for stage in order[: last + 1]}
    settings["drawn by"] = {"version": VERSION, "optuna": version("optuna")}
    settings["sweep"] = plan.sweep.model_dump(mode="json", exclude={"trials", "limit_s", "workers"})
    inputs = {stage: digest_of(Layout(plan.root, plan.name, stage).artifact) or "" for stage in order[:first]}
    for stage in order[first : last + 1]:
        for dep in locked.get(f"{stage}@{plan.name}", {}).get("deps", []):
            inputs[f"{stage} {dep['path']}"] = str(dep.get("md5"))
    return fingerprint_of(settings, inputs)


def present_trial(plan: Plan, places: Places) -> Trial:
    """Return the present settings as a trial that has ended: they ran before the sweep."""
    if known := read_trial(places.trial(PRESENT)):
        return known
    report: dict[str, Any] = read_json(places.present / plan.judged / REPORT)
    check_objective(plan.sweep, report)
    figures = figures_on_validation(report)
    trial = Trial(
        PRESENT, present_of(plan.sweep, plan.raw), "done", figures[plan.sweep.objective], figures,
        curve_of(places.present / plan.judged, plan.sweep.objective),
    )  # fmt: skip
    write_trial(places.trial(PRESENT), trial)
    return trial


def precision_of(places: Places, judged: str) -> str:
    report: dict[str, Any] = read_json(places.present / judged / REPORT)
    return str(report.get("precision", "fp32"))


def verdict_on(plan: Plan, places: Places, best: Trial) -> dict[str, Any]:
    """Compare the best trial with the present settings on the test split, once for each that becomes the best."""
    if best.number == PRESENT:
        return {}
    locked = locked_stages(plan.root).get(f"{EXAMINED}@{plan.name}", {}).get("deps", [])
    code = {dep["path"]: str(dep.get("md5")) for dep in locked if not dep["path"].startswith("artifacts/")}
    judge = section_of(plan.recipe, EXAMINED).model_dump(mode="json")
    key = fingerprint_of({"judge": judge, "trial": best.number}, code)
    with suppress(ArtifactError):
        known: dict[str, Any] = read_json(places.folder / VERDICT)
        if known["key"] == key:
            return known["verdict"]
    say(f"{plan.name}: trial {best.number} and the present settings, on the test split")
    results = [
        examine(places, number, recipe, judged=plan.judged)
        for number, recipe in (
            (PRESENT, plan.recipe),
            (best.number, parse_recipe(plan.name, with_settings(plan.raw, best.settings))),
        )
    ]
    params: Any = plan.recipe.evaluate
    metric = getattr(getattr(params, "gate", None), "metric", "") or ""
    verdict = compare(*results, metric=metric, bootstrap=params.bootstrap)
    write_json(places.folder / VERDICT, {"key": key, "verdict": verdict})
    return verdict


def line_of(trial: Trial, best: Trial, sweep: Sweep) -> str:
    """Return a trial in one line, for the terminal."""
    drawn = ", ".join(f"{path.rpartition('.')[2]} {value}" for path, value in trial.settings.items())
    value = "" if trial.value is None else f" {sweep.objective} {trial.value:.4g}"
    why = f" ({trial.reason})" if trial.reason and trial.state != "done" else ""
    return (
        f"trial {trial.number} of {sweep.trials - 1} {trial.state}{value}{why}  {drawn}  {trial.seconds:.1f} s; "
        f"the best is {best.value:.4g} of trial {best.number}"
    )


class Clock:
    """The seconds that a sweep has taken, over all times that it was carried on."""

    def __init__(self, file: Path, limit_s: int | None) -> None:
        self.file, self.limit_s, self.began = file, limit_s, time.monotonic()
        self.before = 0.0
        with suppress(ArtifactError, KeyError, TypeError):
            self.before = float(read_json(file)["seconds"])

    @property
    def seconds(self) -> float:
        return self.before + time.monotonic() - self.began

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self.tick()

    def tick(self) -> None:
        write_json(self.file, {"seconds": round(self.seconds, 1)}, durable=False)

    def has_time(self) -> bool:
        return self.limit_s is None or self.seconds < self.limit_s
