"""pretrain that makes no model, because finetune makes its own."""

from dataclasses import dataclass

from components.params import NoPretraining
from components.plumbing.artifacts import write_json
from components.pretrain.stage import Inputs, Outputs
from components.tracking.tracker import Tracker
from components.training.history import write_history


@dataclass(frozen=True)
class Report:
    mode: str
    num_parameters: int


def run(params: NoPretraining, inputs: Inputs, outputs: Outputs, *, tracker: Tracker) -> Report:
    """Write a note that there is no model; return a report without parameters."""
    del inputs, tracker
    outputs.model.mkdir(parents=True)
    write_json(outputs.model / "none.json", {"mode": params.mode})
    write_history(outputs.history, [])
    return Report(mode=params.mode, num_parameters=0)
