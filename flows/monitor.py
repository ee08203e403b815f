"""monitor: is the traffic of the service still like what the model was made from? If not, train again.

Reads a window of the traffic log (components/monitoring), judges it, and leaves the verdict and a page in
`observations/<recipe>/monitor/` and in MLflow (a run `monitor`). On drift, rows that have feedback become a new version
of `data/feedback/<recipe>.parquet` under DVC, and `modelyard retrain` starts: never twice for one cause, and not within
the cool-down. What was started is remembered in `.modelyard/monitoring/<recipe>.json`.
"""

import logging
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from prefect import flow
from rich.console import Console
from rich.text import Text

from components.artifacts import Layout, disk_errors, md5_of, read_json, sha256_of, verify, write_json
from components.errors import InputError
from components.locks import hold
from components.monitoring.learned import add_rows, num_rows
from components.monitoring.place import traffic_folder
from components.monitoring.reference import COLUMNS, Reference, read_reference
from components.monitoring.report import write_report
from components.monitoring.verdict import Verdict, as_data, figures, judge_window, told
from components.monitoring.windows import Window, read_window
from components.package.bento import bento_folder
from components.params import Monitoring, Recipe
from components.recipes import load_recipe
from components.tracking import watching_run
from flows.graph import open_repo
from flows.itself import modelyard
from flows.reporting import Data, plain_table
from serving.bundle import MANIFEST, verify_bundle
from serving.traffic import VERDICT

logger = logging.getLogger(__name__)

NAME = "monitor"
MAX_ROWS = 100_000  # of a window that is given by its start
FEEDBACK = "data/feedback"
Retrain = Callable[[Path, str], str]
"""Starts a retraining; gives what was started, in words."""


@dataclass(frozen=True)
class Outcome:
    """What was seen, and what came of it."""

    recipe: str
    verdict: Verdict
    report: Path
    num_learned: int
    """Rows with feedback that are new in the data set of feedback."""
    retrain: str
    """What was started, or why nothing; empty without drift."""


@flow(name=NAME, flow_run_name="{recipe}", persist_result=False, validate_parameters=False)
def monitor(root: Path, recipe: str) -> str:
    """For schedules: judge the newest window of one recipe; gives the verdict in words."""
    outcome = monitor_recipe(Path(root), recipe)
    said = "; ".join([outcome.verdict.state, *outcome.verdict.reasons, outcome.retrain]).rstrip("; ")
    logger.info("%s: %s", recipe, said)
    return said


def monitor_recipe(
    root: Path, name: str, *, last: int | None = None, since: datetime | None = None, retrain: Retrain | None = None
) -> Outcome:
    """Judge a window: the `last` rows, or those `since` a time, or as many as the recipe says. InputError where there
    is no section `monitoring`, no log, or not what made the version."""
    recipe = load_recipe(root, name)
    params = recipe.monitoring
    if params is None:
        raise InputError(f"recipes.{name} has no section 'monitoring'; add one to params.yaml (movie_sentiment has it)")
    with hold(root, f"{name}.monitoring", doing=f"modelyard monitor {name}", wait=True):
        rows = last or (params.window if since is None else MAX_ROWS)
        window = read_window(traffic_folder(root, name), last=rows, since=since, newest=params.min_rows)
        if window is None:
            when = f" since {since.isoformat()}" if since else ""
            raise InputError(
                f"the traffic log of {name} ({traffic_folder(root, name)}) has no answered request{when}; "
                f"serve it with 'modelyard serve {name}', and ask it something"
            )
        reference, notes = reference_of(root, name, recipe, window.version, params)
        verdict = judge_window(window, reference, params, notes=notes)
        report = leave(root, name, verdict, window, reference)
        learned, started = 0, ""
        if verdict.drifted:
            learned = learn(root, name, recipe, window)
            started = start(root, name, recipe, verdict, params, retrain or start_retrain)
    return Outcome(name, verdict, report, learned, started)


def reference_of(
    root: Path, name: str, recipe: Recipe, version: str, params: Monitoring
) -> tuple[Reference | None, list[str]]:
    """What a version was made from and says, and what is to be said of it; None for a task without a reference."""
    task = recipe.preprocess.task
    if task not in COLUMNS:
        return None, [f"the inputs of {task} are not compared: a prompt is not drawn from what the model has read"]
    bundle = bundle_of(root, name, version)
    splits = [split_of(root, name, bundle, split) for split in ("train.parquet", "validation.parquet")]
    kept = root / ".modelyard" / "monitoring" / f"{name}-{version}.parquet"
    reference = read_reference(
        bundle,
        train=splits[0][0],
        validation=splits[1][0],
        kept=kept,
        max_rows=params.max_reference_rows,
        seed=params.seed,
    )
    return reference, sorted({note for _, note in splits if note})


def bundle_of(root: Path, name: str, version: str) -> Path:
    """The bundle with a digest that begins so: the artifact, or an earlier one in BentoML's store."""
    layout = Layout(root, name, "package")
    made = layout.artifact / "bundle"
    if (made / MANIFEST).is_file() and sha256_of(made / MANIFEST).startswith(version):
        verify(layout.artifact, "bundle/")
        return made
    stored = bento_folder(f"{name}:{version}") / "src"
    if (stored / MANIFEST).is_file():
        verify_bundle(stored)
        return stored
    raise InputError(
        f"the log was written by {name}:{version}, which is neither in {made} nor in BentoML's store; bring it back, "
        "or look at newer requests with --since"
    )


def split_of(root: Path, name: str, bundle: Path, split: str) -> tuple[Path, str]:
    """A split that a bundle was made from, as the artifact or from DVC's cache; the artifact of another run, with a
    note, where neither has it."""
    layout = Layout(root, name, "preprocess")
    path = layout.artifact / split
    made_from: dict[str, Any] = read_json(bundle / MANIFEST).get("made_from", {}).get("preprocess", {}).get("outs", {})
    digest = made_from.get(f"artifacts/{name}/preprocess/{split}")
    if digest is not None and not (path.is_file() and md5_of(path) == digest):
        cached = root / ".dvc" / "cache" / "files" / "md5" / digest[:2] / digest[2:]
        if cached.is_file() and md5_of(cached) == digest:
            return cached, ""
        verify(layout.artifact, split)
        return path, "the splits that this version was made from are not in DVC's cache; the present ones stand in"
    verify(layout.artifact, split)
    return path, ""


def leave(root: Path, name: str, verdict: Verdict, window: Window, reference: Reference | None) -> Path:
    """Write the verdict and the page, and log both to MLflow; gives the page."""
    folder = Layout(root, name, NAME).observations
    page = folder / "report.html"
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "verdict.json", as_data(verdict))
        write_json(traffic_folder(root, name) / VERDICT, told(verdict))  # the service tells it, and its page shows it
    write_report(page, name, verdict, window, reference)
    with watching_run(root, name, NAME) as tracker:
        tracker.log_metrics(figures(verdict), step=0)
        tracker.log_file(folder / "verdict.json")
        tracker.log_file(page)
        tracker.tag({"verdict": verdict.state, "version": verdict.version, "reasons": "; ".join(verdict.reasons)})
    return page


def feedback_path(root: Path, name: str, recipe: Recipe) -> Path:
    """The data set of feedback: what the recipe's ingest reads, or would read."""
    return root / (recipe.ingest.feedback or f"{FEEDBACK}/{name}.parquet")


def learn(root: Path, name: str, recipe: Recipe, window: Window) -> int:
    """Add the window's rows with feedback to the data set, as a new version under DVC; gives how many are new."""
    path = feedback_path(root, name, recipe)
    added = add_rows(path, window.rows, task=recipe.preprocess.task, version=window.version)
    if added:
        with open_repo(root) as repo:
            repo.add(str(path))
    return added


def start(
    root: Path, name: str, recipe: Recipe, verdict: Verdict, params: Monitoring, retrain: Retrain
) -> str:  # fmt: skip
    """Start a retraining, unless it was started for this cause, or a short time ago; gives what was done, in words."""
    path = root / ".modelyard" / "monitoring" / f"{name}.json"
    state: dict[str, Any] = read_json(path) if path.is_file() else {"causes": {}}
    now, labelled = datetime.now(UTC), num_rows(feedback_path(root, name, recipe))
    if why := why_not(state, verdict.version, params, now=now, num_feedback=labelled):
        return why
    cause = {"at": now.isoformat(), "num_feedback": labelled, "reasons": list(verdict.reasons)}
    # Before it starts: whatever happens to it then, the same cause starts no other.
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"causes": state["causes"] | {verdict.version: cause}})
    try:
        return retrain(root, name)
    except BaseException:
        write_json(path, state)
        raise


def why_not(
    state: dict[str, Any], version: str, params: Monitoring, *, now: datetime, num_feedback: int
) -> str:  # fmt: skip
    """Why no retraining starts; empty where one may.

    One cause is the drift away from one version. It is another one when there is something new to learn from: so many
    rows of feedback that the last retraining did not have.
    """
    if not params.retrain:
        return "no retraining: monitoring.retrain is false"
    causes: dict[str, Any] = state["causes"]
    newest = max((datetime.fromisoformat(cause["at"]) for cause in causes.values()), default=None)
    if newest is not None and now < newest + timedelta(seconds=params.cool_down_s):
        until = newest + timedelta(seconds=params.cool_down_s)
        return (
            f"no retraining: the last was at {newest:%Y-%m-%d %H:%M} UTC, and the cool-down ends at {until:%H:%M} UTC"
        )
    if version in causes:
        new = num_feedback - causes[version]["num_feedback"]
        if new < params.min_new_feedback:
            return (
                f"no retraining: version {version} was retrained for drift already, and only {new} rows with feedback "
                f"are new (monitoring.min_new_feedback {params.min_new_feedback})"
            )
    return ""


def start_retrain(root: Path, name: str) -> str:
    """Run `modelyard retrain` in a process of its own, which outlives this one, with its words in a log."""
    log = root / ".modelyard" / "logs" / f"retrain-{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = modelyard(root, "retrain", name, "--cause", "drift")
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, cwd=root, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    return f"'modelyard retrain {name}' was started (process {process.pid}; its log is {log})"


# ---------------------------------------------------------------- what the command prints


def monitor_summary(outcome: Outcome) -> Data:
    return {
        "recipe": outcome.recipe,
        **as_data(outcome.verdict),
        "report": str(outcome.report),
        "num_learned": outcome.num_learned,
        "retrain": outcome.retrain,
    }


def monitor_tables(data: Data, console: Console) -> None:
    """The verdict, its reasons, and every figure."""
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
        accuracy = quality["accuracy"]
        console.print(
            f"feedback: {quality['num_rows']} rows, accuracy {accuracy['value']:.3f} ({accuracy['low']:.3f} to "
            f"{accuracy['high']:.3f}), on the validation split {quality['validation_accuracy']:.3f}"
        )
    for line in (f"{data['num_learned']} new rows with feedback" if data["num_learned"] else "", data["retrain"]):
        if line:
            console.print(line, markup=False)
    console.print(f"report: {data['report']}", markup=False)
