"""The runs of a sweep in MLflow: one for the sweep, and one below it for each trial."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.tracking.stage_run import StageTracker
from components.tracking.store import Store, process_tags
from flows.sweep.trials.trial import Trial

SWEEP, TRIAL = "sweep", "trial"
"""What the tag `modelyard.stage` says of these runs."""
STATUS = {"done": "FINISHED", "pruned": "FINISHED", "failed": "FAILED"}


class SweepRun:
    """The run of a sweep, which is carried on where the sweep is."""

    def __init__(self, store: Store, study: str, params: Mapping[str, Any]) -> None:
        self.store, self.client = store, store.client
        found = store.search(f"tags.`modelyard.sweep` = '{study}' AND tags.`modelyard.stage` = '{SWEEP}'")
        tags = {"modelyard.stage": SWEEP, "modelyard.sweep": study, **process_tags(store.root)}
        if found:
            self.run_id: str = found[0].info.run_id
            self.client.update_run(self.run_id, status="RUNNING")
            for key, value in tags.items():
                self.client.set_tag(self.run_id, key, value)
        else:
            self.run_id = self.client.create_run(store.experiment_id, run_name=SWEEP, tags=tags).info.run_id
            StageTracker(store, SWEEP, self.run_id).log_start(params, {})

    def note(self, trial: Trial, objective: str) -> str:
        """Make the run of a trial that has ended; return its id."""
        tags = {
            "mlflow.parentRunId": self.run_id, "modelyard.stage": TRIAL, "modelyard.trial": str(trial.number),
            "modelyard.state": trial.state, "modelyard.reason": trial.reason[:5000],
        }  # fmt: skip
        name = f"{TRIAL} {trial.number}: {trial.state}"
        of_it = f"tags.`mlflow.parentRunId` = '{self.run_id}' AND tags.`modelyard.trial` = '{trial.number}'"
        for left in self.store.search(of_it):  # half made, by a sweep that was killed
            self.client.delete_run(left.info.run_id)
        run_id: str = self.client.create_run(self.store.experiment_id, run_name=name, tags=tags).info.run_id
        tracker = StageTracker(self.store, TRIAL, run_id)
        tracker.log_start(trial.settings, {})
        for look, (epoch, value) in enumerate(trial.curve, start=1):
            tracker.log_metrics({objective: value, "epoch": epoch}, step=look)
        figures = {f"best.{name}": value for name, value in trial.figures.items()}
        tracker.log_metrics(figures | {"seconds": trial.seconds}, step=0)
        tracker.close()
        self.client.set_terminated(run_id, STATUS[trial.state])
        return run_id

    def end(self, status: str, *, files: list[Path], figures: Mapping[str, float]) -> None:
        """Log what was found, and end the run."""
        tracker = StageTracker(self.store, SWEEP, self.run_id)
        for path in files:
            tracker.log_file(path)
        tracker.log_metrics(figures, step=0)
        tracker.close()
        self.client.set_terminated(self.run_id, status)
