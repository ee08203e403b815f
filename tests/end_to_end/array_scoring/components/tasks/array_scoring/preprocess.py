"""preprocess for arrays that are scored: that of arrays with labels, which must be two."""

from components.params import ArrayData
from components.plumbing.artifacts import read_json
from components.plumbing.errors import InputError
from components.preprocess import arrays
from components.preprocess.stage import Inputs, Outputs
from components.tracking.tracker import Tracker


def run(params: ArrayData, inputs: Inputs, outputs: Outputs, *, tracker: Tracker) -> arrays.Report:
    """Check, deduplicate, split, look for leaks. Raises InputError and LeakageError."""
    labels: list[str] = read_json(inputs.verdict)["labels"]
    if len(labels) != 2:
        raise InputError(
            f"validate.contract.labels has {len(labels)} labels; task '{params.task}' needs two, the second of them "
            "the positive one"
        )
    return arrays.run(params, inputs, outputs, tracker=tracker)
