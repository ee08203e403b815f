"""Prefect's artifacts of a flow run, which its pages show beside the log: how far a stage is, the figures of one that
ran, what a failed gate judged, and where the MLflow run and the pages in `observations/` are.

They are shown, never needed: one that cannot be made is left out, and Prefect's server is asked once for each.
"""

import json
import logging
import os
import re
import socket
import threading
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import copy_context
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from components.plumbing.artifacts import REPORT, Layout, read_json
from components.plumbing.environment import MLFLOW_SERVER, noted_server
from components.plumbing.progress import PROGRESS_VARIABLE
from components.recipes import load_recipe
from components.summary import shown, size_rows
from components.tasks import task_of
from components.tracking.headline import flatten
from components.tracking.pipeline_run import PipelineRun
from components.tracking.place import MODEL_TRAINING
from flows.servers.records import process_of, records

logger = logging.getLogger(__name__)

FOLDER = ".modelyard/run/progress"
LOOK_EVERY_S = 2.0
LAST_LOOK_S = 5.0
"""Seconds that the last look at a stage that ended may take; a server that does not answer
delays the stage no longer."""
MAX_FIGURES = 16
MAX_TEXT = 200


@contextmanager
def shown_as_artifacts() -> Generator[None]:
    """Make artifacts in the block without waiting for a server that does not answer; what goes
    wrong there stops nothing."""
    try:
        with temporary_settings(updates={PREFECT_CLIENT_MAX_RETRIES: 0}):
            yield
    except Exception as error:
        logger.debug("an artifact for Prefect's pages was not made: %s", error, exc_info=True)


def key_of(recipe: str, *names: str) -> str:
    """Return the name under which Prefect keeps the versions of an artifact, in the letters that it allows."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join((recipe, *names)).lower()).strip("-")


# ---------------------------------------------------------------- while a stage is at work


@contextmanager
def showing_progress(root: Path, recipe: str, stage: str) -> Generator[None]:
    """Show how far the stage that runs in the block is, in per cent, with its last figures and epochs."""
    file = root / FOLDER / f"{recipe}.{stage}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    follower = Follower(file, key_of(recipe, stage, "progress"))
    os.environ[PROGRESS_VARIABLE] = str(file)
    # With the context, so that the artifact is of this task run.
    thread = threading.Thread(target=copy_context().run, args=(follower.follow,), daemon=True)
    thread.start()
    try:
        yield
        follower.is_done = True
    finally:
        os.environ.pop(PROGRESS_VARIABLE, None)
        follower.over.set()
        thread.join(LAST_LOOK_S)
        file.unlink(missing_ok=True)


class Follower:
    """A thread's work that brings the progress that a stage leaves in a file to Prefect."""

    def __init__(self, file: Path, key: str) -> None:
        self.file, self.key = file, key
        self.over = threading.Event()
        self.is_done = False
        """Whether the stage ended well: then it is shown as complete, even where it stopped early."""
        self._artifact: Any = None
        self._seen = ""

    def follow(self) -> None:
        """Look at the file until the stage is over, and once more."""
        is_over = False
        while not is_over:
            is_over = self.over.wait(LOOK_EVERY_S)
            with shown_as_artifacts():
                self._look(is_over)

    def _look(self, is_over: bool) -> None:
        text = self.file.read_text(encoding="utf-8") if self.file.is_file() else ""
        is_whole = is_over and self.is_done
        if not text or (text == self._seen and not is_whole):
            return
        state: dict[str, Any] = json.loads(text)
        percent = 100.0 if is_whole else 100 * min(1.0, state["done"] / max(1, state["total"]))
        if self._artifact is None:
            self._artifact = create_progress_artifact(percent, key=self.key, description=in_words(state))
        else:
            update_progress_artifact(self._artifact, percent, description=in_words(state))
        self._seen = text


def in_words(state: Mapping[str, Any]) -> str:
    """Return the bar's line, and the epochs below it, the last first."""
    line = f"{state['title']} {state['done']:,} of {state['total']:,}  {state['figures']}".strip()
    epochs: list[str] = state["milestones"]
    return "\n".join([line, "", *(f"- {epoch}" for epoch in reversed(epochs))]).strip()


# ---------------------------------------------------------------- after it


def tell_figures(root: Path, recipe: str, stage: str) -> None:
    """Make an artifact of the figures of a stage that ran, and of where its pages are."""
    with shown_as_artifacts():
        layout = Layout(root, recipe, stage)
        report: dict[str, Any] = read_json(layout.artifact / REPORT)
        head, rows = figures_of(root, recipe, stage, report)
        text = "\n\n".join([markdown_table(head, rows), *pages_of(layout.observations)])
        create_markdown_artifact(text, key=key_of(recipe, stage), description=f"{stage} of {recipe}: its figures")


def tell_gate(root: Path, recipe: str, gate: str, figures: Mapping[str, Any], verdict: str) -> None:
    """Make an artifact of what a gate judged, as a table below its verdict, and of where the pages on it are."""
    with shown_as_artifacts():
        rows = [{"figure": name, "value": short(value)} for name, value in flatten(figures).items()]
        pages = pages_of(Layout(root, recipe, gate).observations)
        create_table_artifact(rows, key=key_of(recipe, gate, "gate"), description="\n\n".join([verdict, *pages]))


def tell_pages(root: Path, recipe: str, name: str, said: str) -> None:
    """Make an artifact of what was found, in words, and of where the pages on it are."""
    with shown_as_artifacts():
        pages = pages_of(Layout(root, recipe, name).observations)
        create_markdown_artifact("\n\n".join([said, *pages]), key=key_of(recipe, name), description=said)


def tell_mlflow(run: PipelineRun) -> None:
    """Make an artifact that leads to the pipeline's run in MLflow: a link where its server is
    known, else the run's id."""
    store, run_id = run.store, run.run_id
    with shown_as_artifacts():
        key, what = key_of(store.recipe, "mlflow"), f"the MLflow run of this pipeline: {run_id}"
        address = mlflow_address(store.root)
        if address:
            page = f"{address}/#/experiments/{store.experiment_id}/runs/{run_id}{MODEL_TRAINING}"
            create_link_artifact(page, link_text=f"MLflow run {run_id}", key=key, description=what)
        else:
            shows = f"MLflow run `{run_id}`, in the experiment `{store.recipe}`; `modelyard ui` shows it."
            create_markdown_artifact(shows, key=key, description=what)


def mlflow_address(root: Path) -> str | None:
    """Return the address of the MLflow server that is up: the user's own, or that of `modelyard up`
    or `ui`; None without one."""
    own = urlsplit(os.environ.get("MLFLOW_TRACKING_URI", ""))
    if own.scheme in ("http", "https"):
        return own._replace(netloc=own.netloc.rpartition("@")[2]).geturl().rstrip("/")  # without a password
    record = records(root).get("mlflow")
    if record and record.began_in(root) and process_of(record):
        return record.address
    with suppress(OSError, ValueError, KeyError):  # a killed `ui` leaves its note behind
        url = noted_server(root, MLFLOW_SERVER)
        socket.create_connection((urlsplit(url).hostname or "", urlsplit(url).port or 0), timeout=0.5).close()
        return url
    return None


def figures_of(
    root: Path, recipe: str, stage: str, report: Mapping[str, Any]
) -> tuple[Sequence[str], list[Sequence[str]]]:
    """Return the heads and rows of a stage's table: those that `modelyard run` prints, where it prints some."""
    given = dict(report)
    if stage == "evaluate":
        head, quality = task_of(load_recipe(root, recipe).task).summary().table(given, None)
        if quality:
            return head, list(quality)
    if stage == "compress":
        speeds = Layout(root, recipe, stage).observations / "speeds.json"
        return ("", "before", "after", ""), list(size_rows(given, read_json(speeds) if speeds.is_file() else None))
    plain = [(shown(k), str(short(v))) for k, v in given.items() if isinstance(v, int | float | str) and v != ""]
    return ("figure", "value"), list(plain[:MAX_FIGURES])


def short(value: object) -> object:
    """Return a figure with 6 significant digits, and other values as text of at most MAX_TEXT characters."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    return value if isinstance(value, bool | int) else str(value)[:MAX_TEXT]


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def pages_of(folder: Path) -> list[str]:
    """Return a line for each page that was left in a folder, with its path: browsers open no
    file from a server's page."""
    return [f"[{page.name}]({page.as_uri()}), a file: `{page}`" for page in sorted(folder.glob("*.html"))]
