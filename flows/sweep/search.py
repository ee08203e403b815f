"""sweep: searches better settings of a recipe, judged on the validation split, and compares the best once on the test
split with those that it has.

A sweep can be killed at any moment: the next one carries on with the same trials. Its folder is
`.modelyard/sweeps/<recipe>/<study>`, where a study is one space of one recipe, by one version of the code and the data.
"""

import logging
import os
import signal
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from components.params.sweep import SIZE, SPEED, SPEEDUP, Sweep
from components.plumbing.artifacts import REPORT, fingerprint_of, read_json, write_json
from components.plumbing.errors import ArtifactError, ConstraintsError, InputError, StoreError
from components.plumbing.lock_file import locked_stages
from components.plumbing.locks import hold
from components.plumbing.logs import say
from components.recipes import parse_recipe, section_of
from components.tracking.store import Store, errors_of_stores
from flows.pipeline.changes import is_up_to_date
from flows.servers.tools import prefect_for_a_run
from flows.sweep.clock import Clock
from flows.sweep.judging.front import best_of, figure_of, front_of, in_digits
from flows.sweep.judging.verdict import compare, words_of
from flows.sweep.report.page import write_page
from flows.sweep.settings.plan import Plan, plan_of, study_of
from flows.sweep.settings.space import brief, check_figures, for_a_trial, present_of, with_settings
from flows.sweep.study import Study, rungs_of
from flows.sweep.tracking import SweepRun
from flows.sweep.trials.served import SpeedTest, compression_trial, drop_served, export_served
from flows.sweep.trials.trial import PRESENT, Trial, figures_on_validation, read_trial, write_trial
from flows.sweep.trials.work import EXAMINED, StudyFolders, curve_of, drop_models, examine, snapshot
from flows.sweep.trials.worker import SPEC
from flows.sweep.trials.workers import workers_for

logger = logging.getLogger(__name__)

FOLDER = ".modelyard/sweeps"
VERDICT, CLOCK = "verdict.json", "clock.json"


@dataclass(frozen=True)
class Found:
    """The findings of a sweep so far: its trials, the best of them, and the comparison of that with the present."""

    plan: Plan
    folders: StudyFolders
    trials: Sequence[Trial]
    """The trials that have ended, by their number; the first stands for the present settings."""
    best: Trial | None
    """The trial that was chosen from the front, by the first objective where nobody named it; None where none is within
    the constraints."""
    verdict: Mapping[str, Any]
    """The comparison of the best settings with the present ones on the test split; empty where these are the best, or
    where the task has no such comparison."""
    run_id: str
    """The id of the sweep's run in MLflow."""

    @property
    def present(self) -> Trial:
        return self.trials[PRESENT]

    @property
    def front(self) -> list[Trial]:
        return front_of(self.trials, self.plan.sweep)

    @property
    def words(self) -> str:
        return words_of(self.trials, self.best, self.plan.sweep, self.verdict)

    @property
    def changes(self) -> dict[str, Any]:
        """The settings of the best trial that are not the present ones."""
        present = present_of(self.plan.sweep, self.plan.raw)
        best = self.best.settings if self.best else {}
        return {path: value for path, value in best.items() if value != present.get(path, ...)}

    def check(self) -> None:
        """Raise ConstraintsError where no trial is within the constraints."""
        if self.best is None:
            raise ConstraintsError(f"{self.plan.name}: {self.words}", report={"trials": len(self.trials)})


def search(root: Path, name: str, *, chosen: int | None = None) -> Found:
    """Carry on the sweep of a recipe, or begin it, until its budget is used up; return what it found.

    `chosen` names a trial of the front, in place of the one with the best first objective; InputError where it is not
    on it.
    """
    plan = plan_of(root, name)
    with hold(root, f"{name}.sweep", doing=f"modelyard sweep {name}", wait=False), ended_by_sigterm():
        bring_up_to_date(root, name, until=plan.judged)
        folder = root / FOLDER / name / study_of(plan)
        folders = StudyFolders(root, name, folder)
        snapshot(folders, plan.judged)
        present = present_trial(plan, folders)
        return carry_on(plan, folders, present, chosen=chosen)


def bring_up_to_date(root: Path, name: str, *, until: str) -> None:
    """Run what is left to do of the present settings' stages as far as `until`."""
    if is_up_to_date(root, name, until=until):
        return
    say(f"{name}: the present settings first, up to {until}")
    with prefect_for_a_run(root) as wait_for_prefect:
        from flows.pipeline.run import run_pipeline  # Prefect, which takes seconds to load

        run_pipeline(root, name, refresh=False, force=(), until=until, wait=True, wait_for_prefect=wait_for_prefect)


@contextmanager
def ended_by_sigterm() -> Generator[None]:
    """End the block on SIGTERM as on Ctrl-C."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def carry_on(plan: Plan, folders: StudyFolders, present: Trial, *, chosen: int | None) -> Found:
    """Run what is left of the trials, wave by wave, and compare the best with the present settings."""
    sweep = plan.sweep
    speed_test = SpeedTest(folders, plan.recipe, judged=plan.judged) if sweep.is_timed else None
    if speed_test:
        present = valued(speed_test.time_present(present), sweep)
    study = Study(folders.folder, plan.name, sweep, plan.raw)
    study.begin(present)
    run = SweepRun(Store(plan.root, plan.name), folders.folder.name, sweep.model_dump(mode="json"))
    status = "FAILED"
    try:
        trials = {PRESENT: noted(run, folders, present, sweep)}
        for frozen in study.trials[1:]:
            if (known := read_trial(folders.trial(frozen.number))) is not None:
                trials[known.number] = noted(run, folders, known, sweep)
        run_waves(plan, folders, study, run, trials, speed_test)
        ordered = [trials[number] for number in sorted(trials)]
        best, fault = choose(ordered, sweep, chosen)
        verdict = verdict_on(plan, folders, best)
        found = Found(plan, folders, ordered, best, verdict, run.run_id)
        drawn = write_page(
            folders.folder / "report", plan.name, sweep, ordered, study.importances(), verdict=verdict, best=best,
            words=found.words,
        )  # fmt: skip
        gains = {f"test.{key}": float(value) for key, value in verdict.items() if isinstance(value, int | float)}
        if best is not None:
            gains |= {f"best.{name}": figure_of(best, name, sweep) or 0.0 for name in sweep.figures}
        run.end(
            "FINISHED", files=[folders.folder / "report/report.html", *drawn],
            figures=gains | {"trials": len(ordered), "front": len(found.front)},
        )  # fmt: skip
        status = ""
        if fault:
            raise InputError(fault)
        return found
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        if status:
            try:
                run.end(status, files=[], figures={})
            except (*errors_of_stores(), StoreError, OSError) as error:  # what ended the sweep is told, not this
                logger.warning("%s: the sweep's run in MLflow was not ended: %s", plan.name, error)


def choose(trials: Sequence[Trial], sweep: Sweep, number: int | None) -> tuple[Trial | None, str]:
    """Return the trial of this number, or the best by the first objective; and why it is not the wanted one, in words,
    where that is not on the front."""
    front = {trial.number: trial for trial in front_of(trials, sweep)}
    if number is None or number in front:
        return (best_of(trials, sweep) if number is None else front[number]), ""
    known = ", ".join(map(str, front)) or "none"
    return best_of(trials, sweep), f"trial {number} is not on the front; on it are {known}"


def run_waves(
    plan: Plan,
    folders: StudyFolders,
    study: Study,
    run: SweepRun,
    trials: dict[int, Trial],
    speed_test: SpeedTest | None,
) -> None:
    """Run waves until the budget is used up, adding what ends to `trials`."""
    sweep = plan.sweep
    clock = Clock(folders.folder / CLOCK, sweep.limit_s)
    count = sweep.workers or max(1, (os.cpu_count() or 1) // sweep.threads)

    def ended(trial: Trial) -> None:
        trials[trial.number] = noted(run, folders, trial, sweep)
        clock.tick()
        say(line_of(trial, list(trials.values()), sweep))

    with clock, workers_for(plan.root, folders.folder, count=count, threads=sweep.threads) as workers:
        while clock.has_time() and (wave := study.wave()):
            # Those of a wave are compared with the waves before, never with each other: which is first is chance.
            first = (min(wave) - 1) // sweep.wave * sweep.wave + 1
            before = [trial for number, trial in sorted(trials.items()) if number < first]
            for number, settings in wave.items():
                write_spec(plan, folders, number, settings, before)
            for trial in copied(folders, {n: s for n, s in wave.items() if n not in trials}, before):
                ended(trial)
            todo = [number for number in wave if number not in trials]
            workers.run(todo, ended=ended, may_start=clock.has_time)
            if speed_test is not None:
                for number in sorted(wave.keys() & trials.keys()):
                    trials[number] = noted(run, folders, timed(speed_test, trials[number], sweep), sweep)
            if any(number not in trials for number in wave):
                return  # the time is over
            study.tell([trials[number] for number in wave])
            drop_models(folders, trials.values(), kept=front_of(trials.values(), sweep))
            drop_served(folders, wave)


def timed(speed_test: SpeedTest, trial: Trial, sweep: Sweep) -> Trial:
    """Return a trial with the speed of what would be served of it."""
    if trial.run_id:  # of before, or the same as an earlier one
        return trial
    trial = speed_test.time(trial, first_objective=sweep.objectives[0])
    if trial.state == "done":
        say(f"trial {trial.number}: {trial.figures[SPEEDUP]:.3g} times the speed of the present settings' model")
    return trial


def write_spec(
    plan: Plan, folders: StudyFolders, number: int, settings: Mapping[str, Any], before: Sequence[Trial]
) -> None:
    """Write all that a trial is, for the process that runs it; `before` are the trials of the waves before."""
    precision, sweep = precision_of(folders, plan.judged), plan.sweep
    write_json(folders.trial(number) / SPEC, {
        "recipe": plan.name, "settings": dict(settings), "judged": plan.judged, "objective": sweep.objectives[0],
        "followed": sweep.followed, "minimizes": sweep.minimizes_followed, "rungs": rungs_of(sweep, before),
        "measured": [name for name in sweep.figures if not SPEED.fullmatch(name)], "is_exported": sweep.is_exported,
        "changed": for_a_trial(plan.raw, settings, precision=precision),
        "present": for_a_trial(plan.raw, {}, precision=precision),
    })  # fmt: skip


def copied(folders: StudyFolders, wave: Mapping[int, Mapping[str, Any]], before: Sequence[Trial]) -> list[Trial]:
    """Return the trials of a wave whose settings were tried in an earlier one: the same work has the same end."""
    known = {repr(sorted(trial.settings.items())): trial for trial in before if trial.state != "failed"}
    found: list[Trial] = []
    for number, settings in wave.items():
        if same := known.get(repr(sorted(settings.items()))):
            reason = f"the same as trial {same.number}"
            trial = replace(same, number=number, settings=dict(settings), seconds=0.0, reason=reason, run_id="")
            write_trial(folders.trial(number), trial)
            found.append(trial)
    return found


def noted(run: SweepRun, folders: StudyFolders, trial: Trial, sweep: Sweep) -> Trial:
    """Make the run of a trial in MLflow where it has none yet and all is measured; return the trial with it."""
    if trial.run_id or (trial.state == "done" and any(figure_of(trial, one, sweep) is None for one in sweep.figures)):
        return trial
    trial = replace(trial, run_id=run.note(trial, sweep.followed))
    write_trial(folders.trial(trial.number), trial)
    return trial


def present_trial(plan: Plan, folders: StudyFolders) -> Trial:
    """Return the present settings as a trial that has ended: they ran before the sweep."""
    if known := read_trial(folders.trial(PRESENT)):
        return known
    sweep = plan.sweep
    report: dict[str, Any] = read_json(folders.present / plan.judged / REPORT)
    figures = figures_on_validation(report)
    check_figures(sweep, report, unit=unit_of(plan, folders) if sweep.is_exported else "")
    if sweep.is_exported:
        say(f"{plan.name}: what would be served of the present settings")
        figures[SIZE] = export_served(folders, PRESENT, plan.recipe, judged=plan.judged)
    trial = Trial(
        PRESENT, present_of(sweep, plan.raw), "done", figures.get(sweep.objectives[0]), figures,
        curve_of(folders.present / plan.judged, sweep.followed),
    )  # fmt: skip
    write_trial(folders.trial(PRESENT), trial)
    return trial


def unit_of(plan: Plan, folders: StudyFolders) -> str:
    return compression_trial(folders, PRESENT, plan.recipe, judged=plan.judged).unit


def valued(trial: Trial, sweep: Sweep) -> Trial:
    return replace(trial, value=trial.figures.get(sweep.objectives[0]))


def precision_of(folders: StudyFolders, judged: str) -> str:
    report: dict[str, Any] = read_json(folders.present / judged / REPORT)
    return str(report.get("precision", "fp32"))


def verdict_on(plan: Plan, folders: StudyFolders, best: Trial | None) -> dict[str, Any]:
    """Compare the best trial with the present settings on the test split, once for each that becomes the best."""
    if best is None or best.number == PRESENT:
        return {}
    locked = locked_stages(plan.root).get(f"{EXAMINED}@{plan.name}", {}).get("deps", [])
    code = {dep["path"]: str(dep.get("md5")) for dep in locked if not dep["path"].startswith("artifacts/")}
    judge = section_of(plan.recipe, EXAMINED).model_dump(mode="json")
    key = fingerprint_of({"judge": judge, "trial": best.number}, code)
    known: dict[str, dict[str, Any]] = {}
    with suppress(ArtifactError):
        known = read_json(folders.folder / VERDICT)
    if key in known:
        return known[key]
    say(f"{plan.name}: trial {best.number} and the present settings, on the test split")
    results = [
        examine(folders, number, recipe, judged=plan.judged)
        for number, recipe in (
            (PRESENT, plan.recipe),
            (best.number, parse_recipe(plan.name, with_settings(plan.raw, best.settings))),
        )
    ]
    params: Any = plan.recipe.evaluate
    metric = getattr(getattr(params, "gate", None), "metric", "") or ""
    verdict = compare(*results, metric=metric, bootstrap=params.bootstrap)
    write_json(folders.folder / VERDICT, {**known, key: verdict})
    return verdict


def line_of(trial: Trial, trials: Sequence[Trial], sweep: Sweep) -> str:
    """Return a trial in one line, for the terminal, with what is best of the trials so far."""
    drawn = ", ".join(f"{brief(path)} {value}" for path, value in trial.settings.items())
    names = [name for name in sweep.figures if figure_of(trial, name, sweep) is not None]
    value = "".join(f" {name} {in_digits(figure_of(trial, name, sweep))}" for name in names)
    why = f" ({trial.reason})" if trial.reason and trial.state != "done" else ""
    best = best_of(trials, sweep)
    said = "none is within the constraints yet"
    if best is not None and len(sweep.objectives) == 1:
        said = f"the best is {best.value:.4g} of trial {best.number}"
    elif best is not None:
        said = f"on the front so far: {', '.join(str(one.number) for one in front_of(trials, sweep))}"
    return (
        f"trial {trial.number} of {sweep.trials - 1} {trial.state}{value}{why}  {drawn}  {trial.seconds:.1f} s; {said}"
    )
