"""The door to MLflow's runs. Stages see a `Tracker`; only this file, and registry.py beside it, know what is behind it.

Experiment = recipe. One parent run for each pipeline run, whoever drives it (the flow, or `dvc repro`), one child for
each stage that really ran; a stage that was found unchanged is a link on the parent to the run that made its output,
found by the digest of that output. The parent is RUNNING while a stage of it runs.
"""

import json
import logging
import os
import platform
import subprocess
import time
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import psutil

from components.artifacts import FILES, REPORT, Layout, digest_of, read_json
from components.errors import GateError, StoreError
from components.recipes import stages
from components.registry import Registry

logger = logging.getLogger(__name__)

URI_VARIABLE = "MLFLOW_TRACKING_URI"
PIPELINE_VARIABLE = "MODELYARD_PIPELINE"
"""Names the pipeline run that a stage belongs to; set by the flow, derived from dvc's process otherwise."""
CACHED = "modelyard.cached."
"""Begins the parent's tag for a stage that was unchanged; the value is the run that made its output."""


class Tracker(Protocol):
    """Where a stage reports what it sees while it works."""

    def log_metrics(self, values: Mapping[str, float], *, step: int) -> None:
        """Points of curves, at a step (an epoch, a batch)."""
        ...

    def log_file(self, path: Path, *, folder: str = "") -> None:
        """A file or a whole folder, shown below `folder` of the run's artifacts."""
        ...

    def provenance(self) -> dict[str, Any]:
        """Which commit and which runs the work came from: `git_commit`, `runs` (stage → run id)."""
        ...

    def register_model(self, folder: Path, *, weights: Path, digest: str) -> dict[str, str]:
        """Make a folder a version in the model registry, with the float weights that it was made from, from which a
        later training can start; gives `name`, `version` and `alias`."""
        ...

    def champion_weights(self, folder: Path) -> Path | None:
        """Bring the float weights of the recipe's champion into `folder`; gives where they lie, or None where no
        version is the champion. ArtifactError where they are not what was registered."""
        ...


class NullTracker:
    """Keeps nothing: for a stage that is run on its own, by a test or in a notebook."""

    def log_metrics(self, values: Mapping[str, float], *, step: int) -> None:
        pass

    def log_file(self, path: Path, *, folder: str = "") -> None:
        pass

    def provenance(self) -> dict[str, Any]:
        return {"git_commit": None, "runs": {}}

    def register_model(self, folder: Path, *, weights: Path, digest: str) -> dict[str, str]:
        return {"name": "", "version": "", "alias": ""}

    def champion_weights(self, folder: Path) -> Path | None:
        return None


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
            _open(uri)
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
        self.client = _open(tracking_uri(root))
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
        tags = {"modelyard.pipeline": pipeline, "modelyard.stage": "pipeline", **_process_tags(self.root)}
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
            if run.data.tags.get("modelyard.host") == host and not _is_alive(run.data.tags.get("modelyard.process", ""))
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


@dataclass
class StageTracker:
    """The MLflow run of one stage."""

    store: Store
    stage: str
    run_id: str
    curves: set[str] = field(default_factory=set)
    """Names of the metrics that have points already."""

    def log_metrics(self, values: Mapping[str, float], *, step: int) -> None:
        from mlflow.entities import Metric

        self.curves |= values.keys()
        now = int(time.time() * 1000)
        self.store.client.log_batch(self.run_id, metrics=[Metric(k, float(v), now, step) for k, v in values.items()])

    def log_file(self, path: Path, *, folder: str = "") -> None:
        if path.is_dir():
            self.store.client.log_artifacts(self.run_id, str(path), folder or path.name)
        else:
            self.store.client.log_artifact(self.run_id, str(path), folder or None)

    def tag(self, values: Mapping[str, str]) -> None:
        for key, value in values.items():
            self.store.client.set_tag(self.run_id, f"modelyard.{key}", value[:5000])

    def provenance(self) -> dict[str, Any]:
        root, recipe = self.store.root, self.store.recipe
        upstream = stages()[: stages().index(self.stage)]
        made_by = {s: self.store.run_of(digest_of(Layout(root, recipe, s).artifact)) for s in upstream}
        runs = {stage: run_id for stage, run_id in made_by.items() if run_id} | {self.stage: self.run_id}
        return {"git_commit": git_commit(root), "runs": runs}

    def register_model(self, folder: Path, *, weights: Path, digest: str) -> dict[str, str]:
        return self.store.registry.register(folder, weights=weights, digest=digest, run_id=self.run_id)

    def champion_weights(self, folder: Path) -> Path | None:
        return self.store.registry.champion_weights(folder)

    def log_start(self, params: Mapping[str, Any], inputs: Mapping[str, str]) -> None:
        """The parameters that run, and the inputs by name and digest."""
        from mlflow.entities import Dataset, DatasetInput, InputTag, Param

        flat = flatten(params)
        self.store.client.log_batch(self.run_id, params=[Param(k, str(v)[:6000]) for k, v in flat.items()])
        context = [InputTag("mlflow.data.context", self.stage)]
        source = json.dumps({"uri": f"artifacts/{self.store.recipe}"})
        datasets = [
            DatasetInput(Dataset(name=name, digest=digest[:36], source_type="local", source=source), tags=context)
            for name, digest in inputs.items()
        ]
        if datasets:
            self.store.client.log_inputs(self.run_id, datasets)

    def log_end(self, folder: Path) -> None:
        """The report and what identifies the artifact, once it is in place.

        A figure with the name of a curve becomes `report.<name>`: it is of another moment than the curve's points.
        """
        report: dict[str, Any] = read_json(folder / REPORT)
        numbers = {k: v for k, v in report.items() if isinstance(v, int | float) and not isinstance(v, bool)}
        named = {f"report.{name}" if name in self.curves else name: value for name, value in numbers.items()}
        self.log_metrics(named, step=0)
        for key, value in report.items():
            if isinstance(value, str):
                self.store.client.set_tag(self.run_id, f"report.{key}", value[:5000])
        self.log_file(folder / REPORT)
        self.log_file(folder / FILES)
        self.store.client.set_tag(self.run_id, "modelyard.digest", digest_of(folder) or "")


@contextmanager
def stage_run(root: Path, recipe: str, stage: str) -> Generator[StageTracker]:
    """The MLflow run of a stage, below the parent of the pipeline run that it belongs to.

    Ends as FINISHED, FAILED (with the error as a tag) or, on an interrupt, KILLED; the parent likewise.
    """
    store = Store(root, recipe)
    store.kill_stale()
    parent = store.parent(pipeline_name())
    store.link_cached(parent, stages()[: stages().index(stage)])
    store.client.update_run(parent, status="RUNNING")
    for key, value in _process_tags(root).items():
        store.client.set_tag(parent, key, value)
    tags = {"modelyard.stage": stage, "mlflow.parentRunId": parent, **_process_tags(root)}
    run_id = store.client.create_run(store.experiment_id, run_name=stage, tags=tags).info.run_id
    status = "FINISHED"
    try:
        yield StageTracker(store, stage, run_id)
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    except BaseException as error:
        status = "FAILED"
        store.client.set_tag(run_id, "modelyard.error", f"{type(error).__name__}: {error}"[:5000])
        if isinstance(error, GateError):
            store.client.log_dict(run_id, error.report, REPORT)
        raise
    finally:
        store.client.set_terminated(run_id, status)
        store.end_parent(parent, status)
        store.describe(parent)


@contextmanager
def watching_run(root: Path, recipe: str, name: str) -> Generator[StageTracker]:
    """A run in the recipe's experiment that belongs to no pipeline run: of what is seen while the model is served."""
    store = Store(root, recipe)
    store.kill_stale()
    tags = {"modelyard.stage": name, **_process_tags(root)}
    run_id = store.client.create_run(store.experiment_id, run_name=name, tags=tags).info.run_id
    status = "FAILED"
    try:
        yield StageTracker(store, name, run_id)
        status = "FINISHED"
    finally:
        store.client.set_terminated(run_id, status)


def open_registry(root: Path, recipe: str) -> Registry:
    """A recipe's versions in the model registry; StoreError names the store where it cannot be reached."""
    check_store(root)
    return Registry(_open(tracking_uri(root)), recipe)


def stale_runs(root: Path) -> list[dict[str, str]]:
    """Every run of every recipe that says RUNNING though its process is gone."""
    check_store(root)
    found: list[dict[str, str]] = []
    for experiment in _open(tracking_uri(root)).search_experiments():
        if experiment.name == "Default":
            continue
        for run in Store(root, experiment.name).stale():
            found.append(
                {"recipe": experiment.name, "stage": run.data.tags["modelyard.stage"], "run_id": run.info.run_id}
            )
    return found


def pipeline_name() -> str:
    """What the stages of one pipeline run share: the flow's name for it, or the identity of the dvc process."""
    named = os.environ.get(PIPELINE_VARIABLE)
    if named:
        return named
    for process in psutil.Process().parents():
        with suppress(psutil.Error):
            if any(Path(word).name == "dvc" for word in process.cmdline()[:3]):
                return f"dvc {_identity(process)}"
    return f"stage {_identity(psutil.Process())}"


def git_commit(root: Path) -> str | None:
    """The commit that is checked out, with `+` where files differ from it; None outside of git."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as `a.b.c: value`; a list stays one value."""
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        flat |= flatten(inner, f"{prefix}{key}.") if isinstance(inner, dict) else {f"{prefix}{key}": inner}
    return flat


def _open(uri: str) -> Any:
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


def _process_tags(root: Path) -> dict[str, str]:
    import getpass

    tags = {"modelyard.process": _identity(psutil.Process()), "modelyard.host": platform.node()}
    commit = git_commit(root)
    if commit:
        tags["mlflow.source.git.commit"] = commit
    with suppress(OSError, KeyError):
        tags["mlflow.user"] = getpass.getuser()
    return tags


def _identity(process: psutil.Process) -> str:
    """A process by number and start time: the number alone is used again."""
    return f"{process.pid}:{int(process.create_time())}"


def _is_alive(identity: str) -> bool:
    with suppress(psutil.Error, ValueError):
        return _identity(psutil.Process(int(identity.split(":")[0]))) == identity
    return False
