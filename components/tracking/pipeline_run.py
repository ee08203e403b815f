"""The MLflow run of a whole pipeline run: the parent of its stages' runs, and the one that is compared with other runs.

Whoever drives (the flow, or `dvc repro`), it is the same: it has the settings that matter, the headline figures
(headline.py), the data set, the bundle and the model of its stages, those that ran and those that were found
unchanged. A stage that was unchanged is a link to the run that made its output. A run in which nothing ran says so, and
has no figures: it made nothing that could be compared.
"""

import json
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from components.plumbing.artifacts import REPORT, Layout, digest_of, read_json
from components.plumbing.errors import ArtifactError
from components.plumbing.lock_file import locked_stages
from components.recipes import stages
from components.tracking.headline import figures_of, settings_of
from components.tracking.place import MODEL_TRAINING
from components.tracking.store import Store, process_tags

CACHED = "modelyard.cached."
"""The beginning of the parent's tag for a stage that was unchanged; the value is the id of the
run that made its output."""
EXPERIMENT_VARIABLE = "DVC_EXP_NAME"
"""The environment variable that `dvc exp run` sets for what it starts: the experiment's name, given or made up."""
NOTHING = "nothing ran"
DATA = "ingest/data.parquet"
MAX_NAMED = 2
"""The most changed settings that a run's name holds; more are in its description only."""
DRIVERS = ("modelyard", "dvc")


class PipelineRun:
    """The MLflow run of one pipeline run, in its recipe's experiment."""

    def __init__(self, store: Store, run_id: str) -> None:
        self.store, self.client, self.run_id = store, store.client, run_id

    @classmethod
    def of(cls, store: Store, pipeline: str) -> "PipelineRun":
        """Return the MLflow run of a pipeline run, by the name that its stages share; it is made if it is not there."""
        found = store.search(f"tags.`modelyard.pipeline` = '{pipeline}' AND tags.`modelyard.stage` = 'pipeline'")
        if found:
            return cls(store, found[0].info.run_id)
        tags = {
            "modelyard.pipeline": pipeline, "modelyard.stage": "pipeline", "mlflow.source.type": "LOCAL",
            "mlflow.source.name": source_name(), **process_tags(store.root),
        }  # fmt: skip
        if experiment := os.environ.get(EXPERIMENT_VARIABLE):
            tags["modelyard.dvc_experiment"] = experiment
        made = store.client.create_run(store.experiment_id, run_name="pipeline", tags=tags)
        return cls(store, made.info.run_id)

    def children(self) -> list[Any]:
        """Return the MLflow runs of the stages that ran, the newest first."""
        return self.store.search(f"tags.`mlflow.parentRunId` = '{self.run_id}'")

    def link_cached(self, names: Iterable[str]) -> None:
        """Note, for each stage that did not run, the run that made its output."""
        ran = {run.data.tags["modelyard.stage"] for run in self.children()}
        for stage in names:
            made_by = self.store.run_of(digest_of(Layout(self.store.root, self.store.recipe, stage).artifact))
            if stage not in ran and made_by:
                self.client.set_tag(self.run_id, f"{CACHED}{stage}", made_by)

    def made_by(self) -> dict[str, str]:
        """Return the id of the run that made each stage's output, by stage: a child of this
        pipeline run, or an earlier run."""
        tags = self.client.get_run(self.run_id).data.tags
        cached = {key.removeprefix(CACHED): value for key, value in tags.items() if key.startswith(CACHED)}
        return cached | {run.data.tags["modelyard.stage"]: run.info.run_id for run in reversed(self.children())}

    def end(self, status: str) -> None:
        self.client.set_terminated(self.run_id, status)

    def note_gate(self, figures: Mapping[str, Any], verdict: str) -> None:
        """Log the champion gate's figures and verdict to this run, which made the challenger."""
        now = int(time.time() * 1000)
        self.client.set_tag(self.run_id, "modelyard.promotion", verdict)
        for name, value in figures.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                self.client.log_metric(self.run_id, f"promotion.{name}", float(value), timestamp=now, step=0)
            else:
                self.client.set_tag(self.run_id, f"promotion.{name}", str(value)[:5000])

    def summarise(self) -> None:
        """Bring up to date what the run shows of its stages: name, settings, figures, data, model, links."""
        own = self.client.get_run(self.run_id)
        ran = {run.data.tags["modelyard.stage"]: run for run in reversed(self.children())}
        made_by = self.made_by()
        if not ran:
            self.client.set_tag(self.run_id, "modelyard.ran", "nothing")
            self.name([], {}, own)
            self.describe(made_by, ran, {})
            return
        runs = {s: ran.get(s) or self.client.get_run(made_by[s]) for s in stages() if s in made_by}
        settings = settings_of({stage: run.data.params for stage, run in runs.items()})
        if chosen := chosen_by(runs):
            settings["compress.chosen"] = chosen
        changed = self.changed(settings, own)
        self.log(own, settings, figures_of({stage: reported(run) for stage, run in runs.items()}))
        self.show_data(own, runs)
        if "package" in runs:
            self.show_model(runs["package"])
        self.client.set_tag(self.run_id, "modelyard.ran", ", ".join(stage for stage in stages() if stage in ran))
        self.name([stage for stage in stages() if stage in ran], changed, own)
        self.describe(made_by, ran, changed)

    def log(self, own: Any, settings: Mapping[str, str], figures: Mapping[str, float]) -> None:
        """Log the settings and figures that are new; a parameter of a run never changes."""
        from mlflow.entities import Metric, Param

        now = int(time.time() * 1000)
        metrics = [Metric(k, v, now, 0) for k, v in figures.items() if own.data.metrics.get(k) != v]
        params = [Param(k, v) for k, v in settings.items() if k not in own.data.params]
        if metrics or params:
            self.client.log_batch(self.run_id, metrics=metrics, params=params)

    def changed(self, settings: Mapping[str, str], own: Any) -> dict[str, str]:
        """Return the settings that differ from those of the last pipeline run before this one that has any."""
        query = f"tags.`modelyard.stage` = 'pipeline' AND attributes.start_time < {own.info.start_time}"
        before = next((run for run in self.store.search(query, max_results=20) if run.data.params), None)
        if before is None:
            return {}
        return {k: v for k, v in settings.items() if k in before.data.params and before.data.params[k] != v}

    def show_data(self, own: Any, runs: Mapping[str, Any]) -> None:
        """Log the rows that were read as a data set, with the digest that DVC has of them,
        which MLflow's table shows."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        given = [one.dataset for run in runs.values() for one in run.inputs.dataset_inputs if one.dataset.name == DATA]
        digest = given[0].digest if given else self.locked_digest()
        if not digest or own.inputs.dataset_inputs:
            return
        source = json.dumps({"uri": f"artifacts/{self.store.recipe}/{DATA}"})
        rows = self.num_rows(runs.get("ingest"))
        profile = json.dumps({"num_rows": int(rows)}) if rows is not None else None
        data = Dataset(self.store.recipe, digest, source_type="local", source=source, profile=profile)
        tags = [InputTag("mlflow.data.context", "training")]
        self.client.log_inputs(self.run_id, [DatasetInput(data, tags=tags)])

    def locked_digest(self) -> str | None:
        """Return the digest that dvc.lock has of the rows: they may come from DVC's cache or remote, and no run in
        this store have read them. None where it names none."""
        outs = locked_stages(self.store.root).get(f"ingest@{self.store.recipe}", {}).get("outs", [])
        path = f"artifacts/{self.store.recipe}/{DATA}"
        return next((out.get("md5") for out in outs if out["path"] == path), None)

    def num_rows(self, ingest: Any) -> float | None:
        """Return the number of rows by ingest's run, or by its report where this store has no run of it."""
        if ingest is not None:
            return ingest.data.metrics.get("num_rows")
        with suppress(ArtifactError):
            return read_json(Layout(self.store.root, self.store.recipe, "ingest").artifact / REPORT).get("num_rows")
        return None

    def show_model(self, package: Any) -> None:
        """Show the bundle's tag, and the logged model that it lies in."""
        from components.tracking.pyfunc.logged import show_model  # which reads more of MLflow than the rest

        if tag := package.data.tags.get("report.tag"):
            self.client.set_tag(self.run_id, "modelyard.bundle", tag)
        outputs = self.client.get_run(package.info.run_id).outputs  # which a search does not give
        for one in outputs.model_outputs if outputs else ():
            show_model(self.client, one.model_id, run_id=self.run_id)

    def name(self, ran: list[str], changed: Mapping[str, str], own: Any) -> None:
        """Name the run by the stages that ran and by the changed settings, where these are at most MAX_NAMED."""
        words = NOTHING if not ran else f"{ran[0]} alone" if len(ran) == 1 else f"{ran[0]} to {ran[-1]}"
        if 0 < len(changed) <= MAX_NAMED:
            words += "".join(f", {path.rpartition('.')[2]} {value}" for path, value in changed.items())
        if experiment := own.data.tags.get("modelyard.dvc_experiment"):
            words = f"{experiment}: {words}"
        if words != own.info.run_name:
            self.client.update_run(self.run_id, name=words[:250])

    def describe(self, made_by: Mapping[str, str], ran: Mapping[str, Any], changed: Mapping[str, str]) -> None:
        """Write the note of MLflow's page: the changed settings, and a line for each stage, ran or
        cached, with a link to its run."""
        lines = [f"- `{path}` is now {value}" for path, value in changed.items()]
        lines += [*([""] if lines else []), "| stage | | run |", "|---|---|---|"]
        for stage in stages():
            if run_id := made_by.get(stage):
                link = f"[{run_id[:8]}](#/experiments/{self.store.experiment_id}/runs/{run_id}{MODEL_TRAINING})"
                lines.append(f"| {stage} | {'ran' if stage in ran else 'cached'} | {link} |")
        self.client.set_tag(self.run_id, "mlflow.note.content", "\n".join(lines))


def reported(run: Any) -> dict[str, Any]:
    """Return the figures that a stage's run reported, and the name of the metric that it compares."""
    report = {name.removeprefix("report."): value for name, value in run.data.metrics.items()}
    return {**report, "metric": run.data.tags.get("report.metric", "quality")}


def chosen_by(runs: Mapping[str, Any]) -> str:
    """Return the candidate that compress chose; empty where it is not known."""
    compressed = runs.get("compress")
    return "" if compressed is None else compressed.data.tags.get("report.candidate", "")


def source_name() -> str:
    """Return the command behind this process: `modelyard run digits`, `dvc repro`."""
    for process in (psutil.Process(), *psutil.Process().parents()):
        with suppress(psutil.Error):
            words = process.cmdline()
            place = next((n for n, word in enumerate(words[:3]) if Path(word).name in DRIVERS), None)
            if place is not None:
                given = [word for word in words[place + 1 :] if not word.startswith("-") and "/" not in word]
                return " ".join([Path(words[place]).name, *given[:2]])
    return "python -m components"
