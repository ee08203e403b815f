"""A language model as serving drives it: tokens and a state go in, logits and the changes of the state come out.

A network with a method `step(input_ids, state)` is enough for that. The method returns the logits and the state after,
a tuple of tensors (L, B, C), and takes None for the state before any token, which is all zeros. A family with another
kind of state, or whose method does not export to good operators, has a function `step_of(model)`, named in `STEPS`. It
returns a module whose inputs and outputs bear the names of serving/tasks/text_generation/predictor.py. The module is
exported to ONNX, and run by torch for comparison.

Legend: B rows of a batch, T tokens, L layers, C width of the state, V tokens of the vocabulary.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from components.models.stepping import Stepping
from components.models.storage import FAMILY, load
from components.plumbing.artifacts import read_json
from components.plumbing.errors import ArtifactError
from serving.tasks.text_generation.predictor import (
    SETTINGS,
    TOKENIZER,
    Arrays,
    TextGenerator,
    load_settings,
    load_tokenizer,
)

StepOf = Callable[[nn.Module], Stepping]


def _gpt() -> StepOf:
    from components.models.gpt.export import step_of

    return step_of


def _lstm() -> StepOf:
    from components.models.lstm.export import step_of

    return step_of


STEPS: dict[str, Callable[[], StepOf]] = {"gpt": _gpt, "lstm": _lstm}
"""The function that makes a family's model a stepping one, where its network has no `step` that exports well."""


def stepping_of(model: nn.Module, *, family: str) -> Stepping:
    """Return the stepping module around a model's own weights; raise ArtifactError where the family gives none."""
    if family in STEPS:
        return STEPS[family]()(model)
    if not hasattr(model, "step"):
        raise ArtifactError(
            f"a model of the family '{family}' cannot write token by token: give its network a method `step`, or "
            "name what makes one of it in STEPS (components/tasks/text_generation/judging/stepping.py)"
        )
    return recurrent_stepping(model)


def recurrent_stepping(model: nn.Module) -> Stepping:
    """Return a stepping module of a model's method `step`; each part of the state is an input and an output."""
    module = RecurrentStep(model).eval()
    with torch.inference_mode():
        _, *after = module(torch.zeros((1, 1), dtype=torch.int64))
    states = {f"state_{number}": torch.zeros(part.shape) for number, part in enumerate(after)}
    return Stepping(
        module=module,
        inputs={"input_ids": torch.ones((1, 4), dtype=torch.int64), **states},
        outputs=["logits", *(f"next_{name}" for name in states)],
    )


class RecurrentStep(nn.Module):
    """A model's own step, whose inputs and outputs are one flat row of tensors."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model: Any = model

    def forward(self, input_ids: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """Return logits (1, T, V) and the parts of the state after, (L, 1, C) each.

        Takes token ids (1, T) and the parts of the state before.
        """
        logits, after = self.model.step(input_ids, state or None)
        return logits, *after


def load_stepping(folder: Path) -> Stepping:
    """Return the stepping module of a model that `storage.save` wrote; raise ArtifactError where it has none."""
    return stepping_of(load(folder), family=read_json(folder / FAMILY)["family"])


def float_generator(stepping: Stepping, predictor: Path, *, threads: int) -> TextGenerator:
    """Return the served text generator around the float model in torch; `predictor` is a folder of preprocess."""
    return TextGenerator(
        tokenizer=load_tokenizer(predictor / TOKENIZER),
        settings=load_settings(predictor / SETTINGS),
        step=TorchStep(stepping),
        threads=threads,
    )


class TorchStep:
    """A step of a model in torch, as a function from NumPy arrays to NumPy arrays."""

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
