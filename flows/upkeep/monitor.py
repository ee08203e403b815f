"""monitor: is the traffic of the service still like what the model was made from? If not, train again.

Reads a window of the traffic log (components/monitoring), judges it, and leaves the verdict and a page in
`observations/<recipe>/monitor/` and in MLflow (a run `monitor`). On drift, rows that have feedback become a new version
of `data/feedback/<recipe>.parquet` under DVC, and a retraining starts (components/monitoring/causes.py says when not):
`modelyard monitor` starts it in a process of its own; a scheduled run does it itself, as a subflow, so that it is over
when the run is.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from prefect import State, flow, get_run_logger
from prefect.states import Completed
from rich.console import Console
from rich.text import Text

from components.monitoring.causes import claim_retraining, drop_claim, hand_claim_to, last_end
from components.monitoring.inputs import MonitoredInputs, Reference
from components.monitoring.learned import Learned, add_rows
from components.monitoring.origins import reference_of
from components.monitoring.report import write_report
from components.monitoring.traffic_log import traffic_folder
from components.monitoring.verdict import Verdict, as_data, figures, judge_window, told
from components.monitoring.windows import Window, read_window
from components.params import Recipe
from components.plumbing.artifacts import Layout, disk_errors, md5_of, read_json, write_json
from components.plumbing.environment import prepare_environment
from components.plumbing.errors import ArtifactError, InputError, NoTrafficError
from components.plumbing.locks import hold
from components.plumbing.processes import identity, start_to_stay
from components.recipes import load_recipe
from components.tasks import task_of
from components.tracking.stage_run import watching_run
from flows.pipeline.changes import when_unlocked
from flows.pipeline.graph import open_repo
from flows.pipeline.prefect_pages import tell_pages
from flows.pipeline.running import known_by_its_process, time_limit
from flows.servers.own_command import modelyard
from flows.telling.alerts import alerting, tell_of_crash, tell_of_verdict
from flows.telling.output import Data, plain_table
from flows.upkeep.due import stand_for_overdue
from serving.log.traffic import VERDICT

NAME = "monitor"
MAX_ROWS = 100_000  # of a window that is given by its start, and of the rows with feedback
FEEDBACK = "data/feedback"
Start = Callable[[Path, str], str]
"""A function that starts a retraining of a recipe in a project; it returns what was started, in words."""


@dataclass(frozen=True)
class Outcome:
    """The verdict on a window, and what comes of it."""

    recipe: str
    verdict: Verdict
    report: Path
    num_learned: int
    """The number of rows with feedback that are new in the data set of feedback."""
    left_out: str
    """How many rows with feedback the contract does not allow, and why; empty without any."""
    is_due: bool
    """Whether a retraining was claimed, and is to start."""
    retrain: str
    """What was started, or why nothing was; empty without drift."""
    run_id: str
    """The id of the run in MLflow."""
    ended: str
    """How the last retraining before ended, where it promoted nothing; else empty."""

    @property
    def said(self) -> str:
        return "; ".join(
            filter(None, [self.verdict.state, *self.verdict.reasons, self.left_out, self.ended, self.retrain])
        )


@flow(name=NAME, flow_run_name="{recipe}", persist_result=False, validate_parameters=False, on_crashed=[tell_of_crash])
def monitor(recipe: str, root: str = ".") -> State[None]:
    """Judge what is new in the traffic of a recipe, and train it again on drift: the flow that schedules run.

    It ends as completed, with the verdict as the state's name.
    """
    from flows.upkeep.retrain import retrain

    folder = Path(root).resolve()
    prepare_environment(folder)
    os.chdir(folder)  # as retrain does
    params = load_recipe(folder, recipe).monitoring
    limit_s = params.schedule.limit_s if params is not None and params.schedule is not None else None
    stand_for_overdue(folder)
    with alerting(folder, recipe, where=f"modelyard monitor {recipe}"), known_by_its_process(folder):
        try:
            with time_limit(limit_s, recipe):
                outcome = judge_recipe(folder, recipe, only_new=True)
        except NoTrafficError as error:
            return Completed(name="Nothing new", message=str(error))
        tell_of_verdict(folder, recipe, outcome.verdict.state, outcome.said, outcome.verdict.version, outcome.run_id)
        tell_pages(folder, recipe, NAME, outcome.said)
        get_run_logger().info("%s: %s", recipe, outcome.said)  # which Prefect's pages and a worker show
        if not outcome.is_due:
            return Completed(name=outcome.verdict.state.capitalize(), message=outcome.said)
        done = retrain(recipe, str(folder), "drift", limit_s)
        return Completed(name="Drift", message=f"{outcome.said}; {done.state}: {done.why}")


def monitor_recipe(
    root: Path, name: str, *, last: int | None = None, since: datetime | None = None, start: Start | None = None
) -> Outcome:
    """Judge a window as `judge_recipe` does, and start a retraining where one is due."""
    outcome = judge_recipe(root, name, last=last, since=since)
    tell_of_verdict(root, name, outcome.verdict.state, outcome.said, outcome.verdict.version, outcome.run_id)
    return replace(outcome, retrain=(start or start_retrain)(root, name)) if outcome.is_due else outcome


def judge_recipe(
    root: Path, name: str, *, last: int | None = None, since: datetime | None = None, only_new: bool = False
) -> Outcome:
    """Judge a window: the `last` rows, or those `since` a time, or as many as the recipe says.

    InputError where there is no section `monitoring`, or not what made the version; NoTrafficError where nothing was
    asked, or, with `only_new`, nothing since the last verdict.
    """
    recipe = load_recipe(root, name)
    params = recipe.monitoring
    if params is None:
        raise InputError(f"recipes.{name} has no section 'monitoring'; add one to params.yaml (movie_sentiment has it)")
    folder = traffic_folder(root, name)
    with hold(root, f"{name}.monitoring", doing=f"modelyard monitor {name}", wait=True):
        rows = last or (params.window if since is None else MAX_ROWS)
        window = read_window(folder, last=rows, since=since, newest=params.min_rows)
        if window is None:
            when = f" since {since.isoformat()}" if since else ""
            raise NoTrafficError(
                f"the traffic log of {name} ({folder}) has no answered request{when}; "
                f"serve it with 'modelyard serve {name}', and ask it something"
            )
        if only_new and is_judged(root, name, window):
            raise NoTrafficError(f"{name}: nothing was asked and nothing was told since the last verdict")
        kind = task_of(recipe.task).monitored()
        reference, notes = None, [f"the inputs of {recipe.task} are not compared with what the model was trained on"]
        if kind is not None:
            reference, notes = reference_of(
                root, name, kind, window.version, params, cached=lambda md5: cached_file(root, md5)
            )
        verdict = judge_window(window, reference, params, notes=notes)
        report, run_id = leave(root, name, verdict, window, reference)
        end = last_end(root, name)
        ended = end.said if end else ""
        if not verdict.drifted:
            return Outcome(
                name, verdict, report, num_learned=0, left_out="", is_due=False, retrain="", run_id=run_id, ended=ended
            )
        whole = read_window(folder, last=MAX_ROWS, since=None, newest=params.min_rows) or window
        learned = learn(root, name, recipe, kind, whole)  # what was told of earlier answers, too
        why_not = claim_retraining(root, name, verdict, params, told_at=learned.told_at)
    return Outcome(
        name,
        verdict,
        report,
        learned.num_new,
        learned.left_out,
        is_due=not why_not,
        retrain=why_not,
        run_id=run_id,
        ended=ended,
    )


def cached_file(root: Path, md5: str) -> Path:
    """Return where DVC's cache, which may be anywhere (`dvc cache dir`), has the file with
    this md5, or would have it."""
    return Path(open_repo(root).cache.local.oid_to_path(md5))


def is_judged(root: Path, name: str, window: Window) -> bool:
    """Return whether the last verdict was on just these answers and this feedback, and leaves nothing to do."""
    verdict = Layout(root, name, NAME).observations / "verdict.json"
    try:
        last: Data = read_json(verdict)
    except ArtifactError:  # there is none yet
        return False
    now = (window.version, window.rows[-1].time.isoformat(), window.num_feedback)
    return last.get("state") != "drift" and (last.get("version"), last.get("newest"), last.get("num_feedback")) == now


def leave(root: Path, name: str, verdict: Verdict, window: Window, reference: Reference | None) -> tuple[Path, str]:
    """Write the verdict and the page, and log both to MLflow; return the page's path and that run's id."""
    folder = Layout(root, name, NAME).observations
    page = folder / "report.html"
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "verdict.json", as_data(verdict))
        write_json(traffic_folder(root, name) / VERDICT, told(verdict))  # the service tells it, and its page shows it
    write_report(page, name, verdict, window, reference)
    with watching_run(root, name, NAME) as tracker:
        tracker.name(f"{NAME}: {verdict.state}")
        tracker.log_metrics(figures(verdict), step=0)
        tracker.log_file(folder / "verdict.json")
        tracker.log_file(page)
        tracker.tag({"verdict": verdict.state, "version": verdict.version, "reasons": "; ".join(verdict.reasons)})
    return page, tracker.run_id


def feedback_path(root: Path, name: str, recipe: Recipe) -> Path:
    """Return the path of the data set of feedback, which the recipe's ingest reads, or would read."""
    return root / (recipe.ingest.feedback or f"{FEEDBACK}/{name}.parquet")


def learn(root: Path, name: str, recipe: Recipe, kind: MonitoredInputs | None, window: Window) -> Learned:
    """Add the window's rows with feedback to the data set, as a new version under DVC; none of a task whose inputs are
    not compared, since feedback does not make a row of them."""
    if kind is None:
        return Learned(num_new=0, num_rows=0, left_out="")
    path = feedback_path(root, name, recipe)
    learned = add_rows(path, window.rows, kind=kind, contract=recipe.validate.contract, version=window.version)
    note = path.with_name(f"{path.name}.dvc")
    if path.is_file() and not (note.is_file() and md5_of(path) in note.read_text(encoding="utf-8")):
        when_unlocked(lambda: open_repo(root).add(str(path)), f"dvc add {path}")
    return learned


def start_retrain(root: Path, name: str) -> str:
    """Run `modelyard retrain` in a process of its own, which outlives this one and writes to a log; return
    what was started, in words."""
    log = root / ".modelyard" / "logs" / f"retrain-{name}.log"
    command = modelyard(root, "retrain", name, "--cause", "drift")
    try:
        process = start_to_stay(command, folder=root, log=log)
    except OSError:
        drop_claim(root, name)
        raise
    hand_claim_to(root, name, identity(process))
    return f"'modelyard retrain {name}' was started (process {process.pid}; its log is {log})"


# ---------------------------------------------------------------- what the command prints


def monitor_summary(outcome: Outcome) -> Data:
    return {
        "recipe": outcome.recipe,
        **as_data(outcome.verdict),
        "report": str(outcome.report),
        "num_learned": outcome.num_learned,
        "left_out": outcome.left_out,
        "last_retraining": outcome.ended,
        "retrain": outcome.retrain,
    }


def monitor_tables(data: Data, console: Console) -> None:
    """Print the verdict, its reasons, and every figure."""
    style = {"drift": "red", "degraded": "yellow", "steady": "green"}.get(data["state"], "dim")
    console.print(
        f"{data['recipe']}: ", Text(data["state"], style=style),
        f", {data['num_rows']} rows of version {data['version']}, ",
        f"{data['first'][:19]} to {data['newest'][:19]} UTC", sep="",
    )  # fmt: skip
    for line in [*data["reasons"], *data["notes"]]:
        console.print(f"  {line}", markup=False)
    if data["findings"]:
        table = plain_table("compared", "statistic", "value", "by chance", "99 % below", "p", "")
        for finding in data["findings"]:
            distance = finding["distance"]
            table.add_row(
                finding["detector"], finding["statistic"], f"{distance['value']:.3f}", f"{distance['null_mean']:.3f}",
                f"{distance['null_high']:.3f}", f"{distance['p_value']:.2g}",
                Text("alarm", style="red") if finding["is_alarm"] else "",
            )  # fmt: skip
        console.print(table)
    service, quality = data["service"], data["quality"]
    latency = f", p95 {service['p95_ms']:.1f} ms" if service["p95_ms"] is not None else ""
    console.print(f"service: {service['num_requests']} requests, {service['error_share']:.1%} failed{latency}")
    if quality:
        said = ", ".join(
            f"{name} {quality[key]['value']:.3f} ({quality[key]['low']:.3f} to {quality[key]['high']:.3f}), on the "
            f"validation split {quality[f'validation_{key}']:.3f}"
            for name, key in (("accuracy", "accuracy"), ("calibration error", "ece"))
        )
        console.print(f"feedback: {quality['num_rows']} rows, {said}")
    learned = f"{data['num_learned']} new rows with feedback" if data["num_learned"] else ""
    for line in (learned, data["left_out"], data["last_retraining"], data["retrain"]):
        if line:
            console.print(line, markup=False)
    console.print(f"report: {data['report']}", markup=False)
