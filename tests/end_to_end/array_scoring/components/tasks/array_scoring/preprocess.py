"""preprocess for arrays that are scored: that of arrays with labels, which must be two."""

from components.artifacts import read_json
from components.errors import InputError
from components.params import ArrayData
from components.preprocess import arrays
from components.preprocess.stage import Inputs, Outputs
from components.tracking import Tracker


def run(params: ArrayData, inputs: Inputs, outputs: Outputs, *, tracker: Tracker) -> arrays.Report:
    """Check, deduplicate, split, look for leaks. Raises InputError and LeakageError."""
    labels: list[str] = read_json(inputs.verdict)["labels"]
    if len(labels) != 2:
        raise InputError(
            f"validate.contract.labels has {len(labels)} labels; task '{params.task}' needs two, the second of them "
            "the positive one"
        )
    return arrays.run(params, inputs, outputs, tracker=tracker)
