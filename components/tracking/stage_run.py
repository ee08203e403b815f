"""The MLflow run of a stage, behind the `Tracker` that it sees. The store is store.py's.

The parent of a stage's run is RUNNING while the stage runs.
"""

import json
import logging
import os
import time
from collections.abc import Generator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
from numpy.typing import NDArray

from components.plumbing.artifacts import FILES, REPORT, Layout, digest_of, read_json, write_json
from components.plumbing.errors import ArtifactError, GateError
from components.plumbing.processes import identity
from components.recipes import stages
from components.tracking.headline import flatten, is_number
from components.tracking.pipeline_run import PipelineRun
from components.tracking.registry import note_weights, noted_weights
from components.tracking.store import Store, git_commit, process_tags
from components.tracking.system_metrics import system_metrics
from components.tracking.tensorboard import FOLDER, Events, is_wanted
from components.tracking.tracker import SEND_EVERY_S
from serving.predictors.pictures import png_of

if TYPE_CHECKING:
    from mlflow.entities import Metric

logger = logging.getLogger(__name__)

CARRIED_ON = "modelyard.carried_on"
"""The tag with the number of times that a run was stopped and carried on."""

PIPELINE_VARIABLE = "MODELYARD_PIPELINE"
"""The environment variable with the name of the pipeline run that a stage belongs to; set by the flow, derived
from dvc's process otherwise."""


@dataclass
class StageTracker:
    """The tracker of one stage, which logs to its run in MLflow."""

    store: Store
    stage: str
    run_id: str
    curves: set[str] = field(default_factory=set)
    """The names of the metrics that have points already."""
    before: Mapping[str, set[int]] = field(default_factory=dict)
    """The steps of the points that the run has by metric, where it is carried on: those are not logged again."""
    events: Events | None = None
    """The event files that the curves are written to as well, where they are asked for."""
    gathered: list["Metric"] = field(default_factory=list)
    """The points that are not sent yet."""
    sent_at: float = -SEND_EVERY_S
    """When points were last sent, on the clock of time.monotonic."""

    def log_metrics(self, values: Mapping[str, float], *, step: int) -> None:
        new = {name: value for name, value in values.items() if step not in self.before.get(name, ())}
        self.curves |= values.keys()
        if self.events is not None:
            self.events.add(new, step=step)
        self._gather(new, step=step)
        # A send to SQLite takes 20 to 70 ms, by far most of it whatever the number of points.
        if time.monotonic() - self.sent_at >= SEND_EVERY_S:
            self.flush()

    def _gather(self, values: Mapping[str, float], *, step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self.gathered += [Metric(name, float(value), now, step) for name, value in values.items()]

    def flush(self) -> None:
        points, self.gathered = self.gathered, []  # first: what an interrupt stops must not be sent again
        if points:
            self.store.client.log_batch(self.run_id, metrics=points)
        self.sent_at = time.monotonic()

    def close(self) -> None:
        """Send the points that are gathered, and write what is kept of the event files, at the end of the run."""
        try:
            self.flush()
        finally:
            if self.events is not None:
                self.events.close()

    def log_file(self, path: Path, *, folder: str = "") -> None:
        if path.is_dir():
            self.store.client.log_artifacts(self.run_id, str(path), folder or path.name)
        else:
            self.store.client.log_artifact(self.run_id, str(path), folder or None)

    def log_picture(self, picture: NDArray[np.uint8], name: str) -> None:
        with TemporaryDirectory(prefix="modelyard-picture-") as folder:
            path = Path(folder) / Path(name).name
            path.write_bytes(png_of(picture))
            self.log_file(path, folder=Path(name).parent.as_posix())

    def tag(self, values: Mapping[str, str]) -> None:
        for key, value in values.items():
            self.store.client.set_tag(self.run_id, f"modelyard.{key}", value[:5000])

    def name(self, words: str) -> None:
        """Name the run in MLflow's pages."""
        self.store.client.update_run(self.run_id, name=words)

    def provenance(self) -> dict[str, Any]:
        root, recipe = self.store.root, self.store.recipe
        upstream = stages()[: stages().index(self.stage)]
        made_by = {s: self.store.run_of(digest_of(Layout(root, recipe, s).artifact)) for s in upstream}
        runs = {stage: run_id for stage, run_id in made_by.items() if run_id} | {self.stage: self.run_id}
        return {"git_commit": git_commit(root), "runs": runs}

    def register_model(self, folder: Path, *, weights: Path) -> dict[str, str]:
        registry = self.store.registry
        registered = registry.register(folder, weights=weights, run_id=self.run_id)
        note_weights(self.store.root, registry)  # of the first, which is the champion at once
        return registered

    def champion_weights(self, folder: Path) -> Path | None:
        digest = noted_weights(self.store.root, self.store.recipe)
        return self.store.registry.bring_weights(digest, folder) if digest else None

    def log_start(self, params: Mapping[str, Any], inputs: Mapping[str, str]) -> None:
        """Log the parameters of the stage, and its inputs by name and digest."""
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
        """Log the report and the artifact's digest, once the artifact is in place.

        A figure with the name of a curve becomes `report.<name>`: it is of another moment than the curve's points.
        """
        report: dict[str, Any] = read_json(folder / REPORT)
        numbers = {k: v for k, v in report.items() if is_number(v)}
        named = {f"report.{name}" if name in self.curves else name: value for name, value in numbers.items()}
        self._gather({name: value for name, value in named.items() if 0 not in self.before.get(name, ())}, step=0)
        self.flush()
        for key, value in report.items():
            if isinstance(value, str):
                self.store.client.set_tag(self.run_id, f"report.{key}", value[:5000])
        self.log_file(folder / REPORT)
        self.log_file(folder / FILES)
        self.store.client.set_tag(self.run_id, "modelyard.digest", digest_of(folder) or "")


@contextmanager
def stage_run(root: Path, recipe: str, stage: str, *, unfinished: Path | None = None) -> Generator[StageTracker]:
    """Make the MLflow run of a stage for the block, below the parent of the pipeline run that it belongs to.

    `unfinished` is the file beside a training's checkpoints that names its run: where it is there, that run is carried
    on, else it is written. The run ends as FINISHED, FAILED (with the error as a tag) or, on an interrupt, KILLED; the
    parent likewise. Raise InputError where TensorBoard's event files are asked for, but cannot be written.
    """
    wants_events = is_wanted()
    store = Store(root, recipe)
    store.kill_stale()
    parent = PipelineRun.of(store, pipeline_name())
    parent.link_cached(stages()[: stages().index(stage)])
    store.client.update_run(parent.run_id, status="RUNNING")
    for key, value in process_tags(root).items():
        store.client.set_tag(parent.run_id, key, value)
    tags = {"modelyard.stage": stage, "mlflow.parentRunId": parent.run_id, **process_tags(root)}
    left = run_to_carry_on(store, unfinished, stage) if unfinished else None
    if left is None:
        run_id = store.client.create_run(store.experiment_id, run_name=stage, tags=tags).info.run_id
    else:
        run_id = left.info.run_id
        carry_on(store, left, tags)
    status = "FINISHED"
    try:  # at once: whatever ends the stage from here on must not leave its run as RUNNING
        if unfinished:
            write_json(unfinished, {"run_id": run_id})
        parent.summarise()
        before = points_of(store, left) if left else {}
        folder = Layout(root, recipe, FOLDER).observations / f"{stage}-{run_id[:8]}"
        events = Events(folder) if wants_events else None
        curves = {name for name, steps in before.items() if any(steps)}  # a figure of a report has the step 0 alone
        tracker = StageTracker(store, stage, run_id, curves, before, events=events)
        with system_metrics(store.client, run_id, is_carried_on=left is not None), closing(tracker):
            yield tracker
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    except BaseException as error:
        status = "FAILED"
        store.client.set_tag(run_id, "modelyard.error", f"{type(error).__name__}: {error}"[:5000])
        if isinstance(error, GateError):
            note_refusal(store, run_id, error)
        raise
    finally:
        store.client.set_terminated(run_id, status)
        parent.end(status)
        parent.summarise()


def run_to_carry_on(store: Store, unfinished: Path, stage: str) -> Any:
    """Return the run of an unfinished training, or None where the store has it no more."""
    from mlflow.exceptions import MlflowException

    if not unfinished.is_file():
        return None
    try:
        run = store.client.get_run(read_json(unfinished)["run_id"])
    except (ArtifactError, MlflowException, KeyError, TypeError):
        return None
    info, tags = run.info, run.data.tags
    is_same = info.experiment_id == store.experiment_id and tags.get("modelyard.stage") == stage
    return run if is_same and info.lifecycle_stage == "active" else None


def carry_on(store: Store, run: Any, tags: Mapping[str, str]) -> None:
    """Have a run that was stopped go on, with the tags of the process that goes on with it."""
    run_id, count = run.info.run_id, int(run.data.tags.get(CARRIED_ON, "0"))
    store.client.update_run(run_id, status="RUNNING")
    for key, value in {**tags, CARRIED_ON: str(count + 1)}.items():
        store.client.set_tag(run_id, key, value)
    if "modelyard.error" in run.data.tags:
        store.client.delete_tag(run_id, "modelyard.error")


def points_of(store: Store, run: Any) -> dict[str, set[int]]:
    """Return the steps of a run's points, by metric."""
    names = [name for name in run.data.metrics if not name.startswith("system/")]
    return {name: {one.step for one in store.client.get_metric_history(run.info.run_id, name)} for name in names}


def note_refusal(store: Store, run_id: str, error: GateError) -> None:
    """Log the report that a gate judged, with its figures as metrics, so that what was refused can be
    compared with what was not."""
    now = int(time.time() * 1000)
    report: dict[str, Any] = dict(error.report)
    for name, value in report.items():
        if is_number(value):
            store.client.log_metric(run_id, name, float(value), timestamp=now, step=0)
    store.client.log_dict(run_id, report, REPORT)


@contextmanager
def watching_run(root: Path, recipe: str, name: str) -> Generator[StageTracker]:
    """Make a run in the recipe's experiment for the block that belongs to no pipeline run: of what is seen
    while the model is served."""
    store = Store(root, recipe)
    store.kill_stale()
    tags = {"modelyard.stage": name, **process_tags(root)}
    run_id = store.client.create_run(store.experiment_id, run_name=name, tags=tags).info.run_id
    status = "FAILED"
    try:
        with closing(StageTracker(store, name, run_id)) as tracker:
            yield tracker
        status = "FINISHED"
    finally:
        store.client.set_terminated(run_id, status)


def pipeline_name() -> str:
    """Return the name that the stages of one pipeline run share: the flow's name for it, or the
    identity of the dvc process."""
    named = os.environ.get(PIPELINE_VARIABLE)
    if named:
        return named
    for process in psutil.Process().parents():
        with suppress(psutil.Error):
            if any(Path(word).name == "dvc" for word in process.cmdline()[:3]):
                return f"dvc {identity(process)}"
    return f"stage {identity()}"
