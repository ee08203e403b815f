"""MLflow's store: where it is, whether it answers, and one recipe's experiment in it.

Experiment = recipe. One parent run for each pipeline run, whoever drives it (the flow, or `dvc repro`), one child for
each stage that really ran; a stage that was found unchanged is a link on the parent to the run that made its output,
found by the digest of that output.
"""

import logging
import os
import platform
import subprocess
import time
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from components.artifacts import Layout, digest_of
from components.errors import StoreError
from components.processes import identity, is_alive
from components.recipes import stages
from components.registry import Registry

logger = logging.getLogger(__name__)

URI_VARIABLE = "MLFLOW_TRACKING_URI"
CACHED = "modelyard.cached."
"""Begins the parent's tag for a stage that was unchanged; the value is the run that made its output."""


def tracking_uri(root: Path) -> str:
    """The user's store, or a SQLite file in the project."""
    return os.environ.get(URI_VARIABLE) or f"sqlite:///{root / 'mlflow.db'}"


def masked(uri: str) -> str:
    """An address without its password."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(uri).render_as_string(hide_password=True)
    except ArgumentError:
        return uri


def check_store(root: Path) -> None:
    """Raise StoreError where the MLflow store does not answer within a few seconds."""
    uri = tracking_uri(root)
    try:
        if uri.startswith(("http://", "https://")):
            import httpx

            httpx.get(f"{uri.rstrip('/')}/health", timeout=5).raise_for_status()
        elif not uri.startswith("sqlite:"):
            from sqlalchemy import create_engine

            create_engine(uri, connect_args={"connect_timeout": 5}).connect().close()
        else:
            open_client(uri)
    except Exception as error:
        reason = str(error).splitlines()[0].replace(uri, masked(uri))
        raise StoreError(
            f"the MLflow store {masked(uri)} cannot be reached ({type(error).__name__}: {reason}); "
            f"start it, or mend or unset {URI_VARIABLE}"
        ) from error


@contextmanager
def store_errors(root: Path) -> Generator[None]:
    """Say of what MLflow raises in the block that the store does not answer, where that is why."""
    try:
        yield
    except Exception as error:
        from mlflow.exceptions import MlflowException

        if isinstance(error, MlflowException):
            check_store(root)
        raise


class Store:
    """One recipe's experiment in MLflow, and the pipeline run that is going on."""

    def __init__(self, root: Path, recipe: str) -> None:
        """Open the store; StoreError names it where it cannot be reached."""
        check_store(root)
        self.root, self.recipe = root.resolve(), recipe
        self.client = open_client(tracking_uri(root))
        self.experiment_id = self._experiment()

    @property
    def registry(self) -> Registry:
        """The recipe's versions."""
        return Registry(self.client, self.recipe)

    def parent(self, pipeline: str) -> str:
        """The id of a pipeline run's parent, made if it is not there."""
        found = self.search(f"tags.`modelyard.pipeline` = '{pipeline}' AND tags.`modelyard.stage` = 'pipeline'")
        if found:
            return found[0].info.run_id
        tags = {"modelyard.pipeline": pipeline, "modelyard.stage": "pipeline", **process_tags(self.root)}
        return self.client.create_run(self.experiment_id, run_name="pipeline", tags=tags).info.run_id

    def run_of(self, digest: str | None) -> str | None:
        """The id of the newest finished run that made the output with this digest."""
        found = (
            self.search(f"tags.`modelyard.digest` = '{digest}' AND attributes.status = 'FINISHED'") if digest else []
        )
        return found[0].info.run_id if found else None

    def link_cached(self, parent: str, names: Iterable[str]) -> None:
        """Note on the parent, for each stage that did not run, the run that made its output."""
        ran = {run.data.tags["modelyard.stage"] for run in self.children(parent)}
        for stage in names:
            made_by = self.run_of(digest_of(Layout(self.root, self.recipe, stage).artifact))
            if stage not in ran and made_by:
                self.client.set_tag(parent, f"{CACHED}{stage}", made_by)
        self.describe(parent)

    def children(self, parent: str) -> list[Any]:
        return self.search(f"tags.`mlflow.parentRunId` = '{parent}'")

    def end_parent(self, parent: str, status: str) -> None:
        self.client.set_terminated(parent, status)

    def note_gate(self, parent: str, figures: Mapping[str, Any], verdict: str) -> None:
        """The champion gate's figures on the pipeline run that made the challenger."""
        now = int(time.time() * 1000)
        self.client.set_tag(parent, "modelyard.promotion", verdict)
        for name, value in figures.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                self.client.log_metric(parent, f"promotion.{name}", float(value), timestamp=now, step=0)
            else:
                self.client.set_tag(parent, f"promotion.{name}", str(value)[:5000])

    def search(self, filter_string: str) -> list[Any]:
        """Runs of this recipe, newest first."""
        return list(
            self.client.search_runs([self.experiment_id], filter_string, order_by=["attributes.start_time DESC"])
        )

    def stale(self) -> list[Any]:
        """Runs that say RUNNING, of this machine, whose process is gone."""
        host = platform.node()
        return [
            run
            for run in self.search("attributes.status = 'RUNNING'")
            if run.data.tags.get("modelyard.host") == host and not is_alive(run.data.tags.get("modelyard.process", ""))
        ]

    def kill_stale(self) -> None:
        """Mark what a SIGKILL or a power cut left behind as KILLED."""
        for run in self.stale():
            self.client.set_terminated(run.info.run_id, "KILLED")

    def _experiment(self) -> str:
        found = self.client.get_experiment_by_name(self.recipe)
        if found:
            if found.lifecycle_stage == "deleted":  # in MLflow's pages, where its name stays taken
                self.client.restore_experiment(found.experiment_id)
            return found.experiment_id
        has_server = tracking_uri(self.root).startswith(("http://", "https://"))  # which then has a place of its own
        location = None if has_server else (self.root / "mlartifacts" / self.recipe).as_uri()
        tags = {"mlflow.experimentKind": "custom_model_development"}  # its pages then open on runs, with their charts
        try:
            return self.client.create_experiment(self.recipe, artifact_location=location, tags=tags)
        except Exception:
            found = self.client.get_experiment_by_name(self.recipe)
            if found is None:
                raise
            return found.experiment_id  # two first runs at once: the other one made it

    def made_by(self, parent: str) -> dict[str, str]:
        """The run that made each stage's output, as a pipeline run has it: its own child, or an earlier run."""
        tags = self.client.get_run(parent).data.tags
        cached = {key.removeprefix(CACHED): value for key, value in tags.items() if key.startswith(CACHED)}
        return cached | {run.data.tags["modelyard.stage"]: run.info.run_id for run in self.children(parent)}

    def describe(self, parent: str) -> None:
        """The parent's note in the UI: one line a stage, ran or cached, with the run to look at."""
        made_by, ran = self.made_by(parent), {run.info.run_id for run in self.children(parent)}
        lines = ["| stage | | run |", "|---|---|---|"]
        for stage in stages():
            if run_id := made_by.get(stage):
                link = f"[{run_id[:8]}](#/experiments/{self.experiment_id}/runs/{run_id})"
                lines.append(f"| {stage} | {'ran' if run_id in ran else 'cached'} | {link} |")
        self.client.set_tag(parent, "mlflow.note.content", "\n".join(lines))


def open_registry(root: Path, recipe: str) -> Registry:
    """A recipe's versions in the model registry; StoreError names the store where it cannot be reached."""
    check_store(root)
    return Registry(open_client(tracking_uri(root)), recipe)


def stale_runs(root: Path) -> list[dict[str, str]]:
    """Every run of every recipe that says RUNNING though its process is gone."""
    check_store(root)
    found: list[dict[str, str]] = []
    for experiment in open_client(tracking_uri(root)).search_experiments():
        if experiment.name == "Default":
            continue
        for run in Store(root, experiment.name).stale():
            found.append(
                {"recipe": experiment.name, "stage": run.data.tags["modelyard.stage"], "run_id": run.info.run_id}
            )
    return found


def git_commit(root: Path) -> str | None:
    """The commit that is checked out, with `+` where files differ from it; None outside of git."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def open_client(uri: str) -> Any:
    # MLflow retries a dead server for minutes by default.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    from mlflow import MlflowClient

    for name in ("mlflow", "mlflow.store.db.utils", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    client = MlflowClient(uri, registry_uri=uri)
    client.search_experiments(max_results=1)
    return client


def process_tags(root: Path) -> dict[str, str]:
    import getpass

    tags = {"modelyard.process": identity(), "modelyard.host": platform.node()}
    commit = git_commit(root)
    if commit:
        tags["mlflow.source.git.commit"] = commit
    with suppress(OSError, KeyError):
        tags["mlflow.user"] = getpass.getuser()
    return tags
