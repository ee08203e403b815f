"""evaluate: measures the model on the test split, beside an honest baseline, and decides whether it may go on.

Reads the training and test splits and the predictor's settings of preprocess, the validation split where scores are
calibrated on it, and the model (and the control model, where there is one) of finetune, which it judges through
serving/predictors as the service will run it. Writes `results/` (tables), `plots/` and `metrics.json` (the few figures
to compare between runs). The task decides on the figures, the baseline and the quality bar.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from components.params import Evaluate
from components.plumbing.artifacts import METRICS, artifact, observations, write_json
from components.plumbing.errors import QualityError
from components.tracking.tracker import Tracker


@dataclass(frozen=True)
class Inputs:
    train: Path = artifact("preprocess/train.parquet")
    validation: Path = artifact("preprocess/validation.parquet")
    test: Path = artifact("preprocess/test.parquet")
    predictor: Path = artifact("preprocess/predictor/")
    model: Path = artifact("finetune/model/")
    control: Path = artifact("finetune/control/")


@dataclass(frozen=True)
class Outputs:
    results: Path = artifact("results/")
    plots: Path = artifact("plots/")
    metrics: Path = artifact(METRICS)
    observations: Path = observations()


class Judgement(Protocol):
    """A task's report, which is a dataclass."""

    def headline(self) -> dict[str, float]:
        """Return the few figures to compare between runs."""
        ...


class Measure(Protocol):
    """A task's part in the stage."""

    def __call__(self, params: Evaluate, inputs: Inputs, outputs: Outputs, *, tracker: Tracker) -> Judgement: ...


def run(params: Evaluate, inputs: Inputs, outputs: Outputs, *, tracker: Tracker, measure: Measure) -> Judgement:
    """Measure as the task asks and write metrics.json; return the task's report.

    Where the task raises QualityError, the tables and plots are kept among the observations for a person to read.
    """
    outputs.results.mkdir()
    outputs.plots.mkdir()
    try:
        report = measure(params, inputs, outputs, tracker=tracker)
    except QualityError:
        for folder in (outputs.results, outputs.plots):
            shutil.copytree(folder, outputs.observations / folder.name, dirs_exist_ok=True)
        raise
    finally:
        if any(outputs.plots.iterdir()):
            tracker.log_file(outputs.plots, folder="plots")
        for path in sorted(outputs.results.glob("*.json")):
            tracker.log_file(path)
    write_json(outputs.metrics, report.headline())
    return report
