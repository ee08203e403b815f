"""sweep: searches better settings of a recipe, judged on the validation split, and compares the best once on the test
split with those that it has.

A sweep can be killed at any moment: the next one carries on with the same trials. Its folder is
`.modelyard/sweeps/<recipe>/<study>`, where a study is one space of one recipe, by one version of the code and the data.
"""

import os
import signal
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from components.params.sweep import Sweep
from components.plumbing.artifacts import REPORT, fingerprint_of, read_json, write_json
from components.plumbing.errors import ArtifactError
from components.plumbing.lock_file import locked_stages
from components.plumbing.locks import hold
from components.plumbing.logs import say
from components.recipes import parse_recipe, section_of
from components.tracking.store import Store
from flows.pipeline.run import run_pipeline
from flows.sweep.clock import Clock
from flows.sweep.page import write_page
from flows.sweep.plan import Plan, plan_of, study_of
from flows.sweep.space import (
    check_objective,
    for_a_trial,
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

FOLDER = ".modelyard/sweeps"
VERDICT, CLOCK = "verdict.json", "clock.json"


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
