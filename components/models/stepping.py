"""A language model as serving drives it: some tokens and a state in, logits and what changes of the state out.

Each family of language models gives `step_of(model)` in its `export.py`: a module whose inputs and outputs bear the
names of serving/predictors/text_generation.py. It is exported to ONNX, and run by torch for comparison.
"""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from components.artifacts import read_json
from components.models.storage import FAMILY, load
from serving.predictors.text_generation import (
    SETTINGS,
    TOKENIZER,
    Arrays,
    TextGenerator,
    load_settings,
    load_tokenizer,
)


@dataclass(frozen=True)
class Stepping:
    """A module that steps, its inputs by example, and the names of its outputs, in their order."""

    module: nn.Module
    inputs: Mapping[str, Tensor]
    """`input_ids`, of four tokens; `position`, where the model has positions; and the states."""
    outputs: Sequence[str]


def stepping_of(model: nn.Module, *, family: str) -> Stepping:
    """The stepping module around a model's own weights."""
    made: Stepping = importlib.import_module(f"components.models.{family}.export").step_of(model)
    return made


def load_stepping(folder: Path) -> Stepping:
    """The same of a model that `storage.save` wrote."""
    return stepping_of(load(folder), family=read_json(folder / FAMILY)["family"])


def float_generator(stepping: Stepping, predictor: Path, *, threads: int) -> TextGenerator:
    """What serves the compressed model, around the float model in torch. `predictor` is preprocess's folder."""
    return TextGenerator(
        tokenizer=load_tokenizer(predictor / TOKENIZER),
        settings=load_settings(predictor / SETTINGS),
        step=TorchStep(stepping),
        threads=threads,
    )


class TorchStep:
    """A step in torch, from arrays to arrays."""

    def __init__(self, stepping: Stepping) -> None:
        self.stepping = stepping
        self.state_shapes = {
            name: tuple(example.shape) for name, example in stepping.inputs.items() if name.startswith("state_")
        }
        self.takes_position = "position" in stepping.inputs

    @torch.inference_mode()
    def run(self, inputs: Arrays) -> Arrays:
        given: list[Any] = [torch.from_numpy(np.ascontiguousarray(inputs[name])) for name in self.stepping.inputs]
        outputs: tuple[Tensor, ...] = self.stepping.module(*given)
        return {name: output.numpy() for name, output in zip(self.stepping.outputs, outputs, strict=True)}
