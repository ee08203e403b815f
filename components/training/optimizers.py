"""The field's optimizers and learning-rate schedules, from their settings."""

import math
from collections.abc import Callable, Iterable

import torch
from torch import nn

from components.params import Optimizer, Schedule


def build_optimizer(settings: Optimizer, parameters: Iterable[tuple[str, nn.Parameter]]) -> torch.optim.Optimizer:
    """The optimizer over the trainable parameters; biases and normalisation weights (one axis) do not decay."""
    trainable = [p for _, p in parameters if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return OPTIMIZERS[settings.name](settings, [group for group in groups if group["params"]])


def _adamw(settings: Optimizer, groups: list[dict]) -> torch.optim.Optimizer:
    assert settings.betas is not None
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=settings.betas, fused=True)


def _adam(settings: Optimizer, groups: list[dict]) -> torch.optim.Optimizer:
    assert settings.betas is not None
    return torch.optim.Adam(groups, lr=settings.learning_rate, betas=settings.betas, fused=True)


def _sgd(settings: Optimizer, groups: list[dict]) -> torch.optim.Optimizer:
    assert settings.momentum is not None
    return torch.optim.SGD(groups, lr=settings.learning_rate, momentum=settings.momentum)


def _rmsprop(settings: Optimizer, groups: list[dict]) -> torch.optim.Optimizer:
    assert settings.momentum is not None
    return torch.optim.RMSprop(groups, lr=settings.learning_rate, momentum=settings.momentum)


OPTIMIZERS: dict[str, Callable[[Optimizer, list[dict]], torch.optim.Optimizer]] = {
    "adamw": _adamw,
    "adam": _adam,
    "sgd": _sgd,
    "rmsprop": _rmsprop,
}


def learning_rate(step: int, *, schedule: Schedule, num_steps: int, highest: float) -> float:
    """The learning rate of a step (counted from 0): a linear warm-up, then the schedule's decay to zero."""
    num_warmup = round(schedule.warmup_share * num_steps)
    if step < num_warmup:
        return highest * (step + 1) / num_warmup
    return highest * DECAYS[schedule.name]((step - num_warmup) / max(1, num_steps - num_warmup))


DECAYS: dict[str, Callable[[float], float]] = {
    "constant": lambda _: 1.0,
    "linear": lambda progress: 1.0 - progress,
    "cosine": lambda progress: 0.5 * (1.0 + math.cos(math.pi * progress)),
}
