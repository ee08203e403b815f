"""The objectives by name, each imported only when it is asked for."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import nn

from components.models.facts import Facts
from components.params import Adapt, Distillation, PretrainFromData, TrainFromLabels
from components.params.recipe import LABELS
from components.tracking.tracker import Tracker
from components.training.objective import Data, Objective
from components.training.precision import Precision


class Prepare(Protocol):
    """The function `prepare` of an objective's module; `params` is the section of params.yaml that it is for."""

    def __call__(
        self, params: Any, *, model: nn.Module, facts: Facts, data: Data, tracker: Tracker, device: torch.device,
        precision: Precision,
    ) -> Objective: ...  # fmt: skip


def _adversarial() -> Prepare:
    from components.objectives.adversarial import prepare

    return prepare


def _causal() -> Prepare:
    from components.objectives.causal import prepare

    return prepare


def _classification() -> Prepare:
    from components.objectives.classification import prepare

    return prepare


def _distillation() -> Prepare:
    from components.objectives.distillation import prepare

    return prepare


def _masked() -> Prepare:
    from components.objectives.masked import prepare

    return prepare


OBJECTIVES: dict[str, Callable[[], Prepare]] = {
    "adversarial": _adversarial,
    "causal": _causal,
    "classification": _classification,
    "distillation": _distillation,
    "masked": _masked,
}


def objective_of(params: PretrainFromData | TrainFromLabels | Adapt | Distillation) -> str:
    """Return the name of the objective that a section trains with: its own, or the one for labels."""
    if isinstance(params, Distillation):
        return "distillation"
    return params.objective.name if isinstance(params, PretrainFromData) else LABELS
