"""finetune without training: the pretrained model is passed on as it is.

Its files are passed on as hard links, so that nothing is stored twice; across devices they are copied.
"""

import os
import shutil
from dataclasses import dataclass
from math import prod
from pathlib import Path

from safetensors import safe_open

from components.finetune.control import write_no_control
from components.finetune.stage import Inputs, Outputs
from components.models.storage import FAMILY, WEIGHTS
from components.params import NoFinetuning
from components.plumbing.artifacts import read_json
from components.tracking.tracker import Tracker
from components.training.history import write_history


@dataclass(frozen=True)
class Report:
    """The family and the size of the model that is passed on."""

    family: str
    num_parameters: int
    """The number of values in model.safetensors."""


def run(params: NoFinetuning, inputs: Inputs, outputs: Outputs, *, tracker: Tracker) -> Report:
    del params, tracker  # there is nothing to set, and nothing that changes as it goes
    pass_on(inputs.pretrained, outputs.model)
    write_no_control(outputs.control)
    write_history(outputs.history, [])
    with safe_open(outputs.model / WEIGHTS, framework="numpy") as weights:
        num_parameters = sum(prod(weights.get_slice(name).get_shape()) for name in weights.keys())
    return Report(family=read_json(outputs.model / FAMILY)["family"], num_parameters=num_parameters)


def pass_on(source: Path, target: Path) -> None:
    """Make `target` a folder of the same files as `source`, without a second copy where the file system allows it."""
    for path in sorted(p for p in source.rglob("*") if p.is_file()):
        there = target / path.relative_to(source)
        there.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path.resolve(), there)  # of the file itself: DVC may have put a symbolic link there
        except OSError:  # another device, or a file system without links
            shutil.copyfile(path, there)
