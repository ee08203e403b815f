"""preprocess: cleans the rows, removes duplicates, splits them, and writes the input of a model.

Reads the rows of ingest and the verdict of validate. Writes the three splits, the rows without a label (texts to
pretrain on; most recipes have none), and `predictor/`, all that the predictor needs to read a request as training did:
`predictor.json`, and `tokenizer.json` where there are texts. The task decides how; common to all tasks is that no row
of one split occurs again, or nearly, in another.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from components.params import Preprocess
from components.plumbing.artifacts import artifact, checkpoints, observations, project
from components.tracking.tracker import Tracker


@dataclass(frozen=True)
class Inputs:
    data: Path = artifact("ingest/data.parquet")
    verdict: Path = artifact("validate/verdict.json")
    project: Path = project()


@dataclass(frozen=True)
class Outputs:
    train: Path = artifact("train.parquet")
    validation: Path = artifact("validation.parquet")
    test: Path = artifact("test.parquet")
    unlabelled: Path = artifact("unlabelled.parquet")
    predictor: Path = artifact("predictor/")
    work: Path = checkpoints()
    observations: Path = observations()


class Prepare(Protocol):
    """A task's part in the stage."""

    def __call__(self, params: Preprocess, inputs: Inputs, outputs: Outputs, *, tracker: Tracker) -> Any: ...


def run(params: Preprocess, inputs: Inputs, outputs: Outputs, *, tracker: Tracker, prepare: Prepare) -> Any:
    """Prepare the data as the task asks and return the task's report; InputError and LeakageError are the task's to
    raise."""
    outputs.predictor.mkdir(parents=True)
    return prepare(params, inputs, outputs, tracker=tracker)
