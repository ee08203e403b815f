"""Optimizers, learning-rate schedules and gradient clipping, made from their settings."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from components.params import Clip, Optimizer, Schedule
from components.training.ranks import ALONE, Ranks
from components.training.rows import add_up, numbers_of, step_on_rows

# torch's own defaults of OneCycleLR: the first rate is the highest / 25, the last one the first / 10,000.
ONE_CYCLE_START = 25.0
ONE_CYCLE_END = 1e4


def build_optimizer(settings: Optimizer, parameters: Iterable[tuple[str, nn.Parameter]]) -> torch.optim.Optimizer:
    """Return an optimizer over the trainable parameters; biases and normalisation weights (one axis) do not decay."""
    trainable = [p for _, p in parameters if p.requires_grad]
    both = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups: list[dict[str, Any]] = [group for group in both if group["params"]]
    if settings.betas is not None:
        optimizer = ADAPTIVE[settings.name](groups, lr=settings.learning_rate, betas=settings.betas, fused=True)
        optimizer.register_step_pre_hook(step_on_rows)
        return optimizer
    assert settings.momentum is not None
    return WITH_MOMENTUM[settings.name](groups, lr=settings.learning_rate, momentum=settings.momentum)


ADAPTIVE: dict[str, type[torch.optim.Adam]] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
"""The optimizers that take betas, by name."""
WITH_MOMENTUM: dict[str, type[torch.optim.SGD | torch.optim.RMSprop]] = {
    "sgd": torch.optim.SGD, "rmsprop": torch.optim.RMSprop,
}  # fmt: skip
"""The optimizers that take a momentum, by name."""


def rate_factor(step: int, *, schedule: Schedule, num_steps: int) -> float:
    """Return the factor by which the highest learning rate is multiplied at a step, counted from 0."""
    if schedule.name == "one_cycle":
        return one_cycle(step, rise_share=schedule.warmup_share, num_steps=num_steps)
    num_warmup = round(schedule.warmup_share * num_steps)
    if step < num_warmup:
        return (step + 1) / num_warmup
    return DECAYS[schedule.name]((step - num_warmup) / max(1, num_steps - num_warmup))


DECAYS: dict[str, Callable[[float], float]] = {
    "constant": lambda _: 1.0,
    "linear": lambda progress: 1.0 - progress,
    "cosine": lambda progress: 0.5 * (1.0 + math.cos(math.pi * progress)),
}
"""The factor on the learning rate after a linear warm-up, as a function of the progress from 0 to 1, by schedule."""


def one_cycle(step: int, *, rise_share: float, num_steps: int) -> float:
    """Return the factor on the highest rate of a schedule that rises along half a cosine and falls to almost nothing.

    The schedule is that of Smith 2018 (arXiv:1803.09820), with the rates of torch's OneCycleLR, whose pct_start is
    `rise_share`; momentum stays as it is set.
    """
    top = rise_share * num_steps - 1  # torch's, a fraction of a step where the share is no whole number of them
    first, last = 1 / ONE_CYCLE_START, 1 / (ONE_CYCLE_START * ONE_CYCLE_END)
    if step <= top:
        return _half_cosine(first, 1.0, step / top if top else 1.0)
    return _half_cosine(1.0, last, (step - top) / (num_steps - 1 - top))


def _half_cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * progress))


def clip_gradients(parameters: Sequence[nn.Parameter], clip: Clip | None, *, ranks: Ranks = ALONE) -> Tensor:
    """Clip the gradients as the recipe says; return their norm before, over all ranks."""
    for parameter in parameters:
        add_up(parameter)
    norm = ranks.whole(torch.nn.utils.get_total_norm([numbers_of(p.grad) for p in parameters if p.grad is not None]))
    if clip is None:
        return norm
    by_rows = [p for p in parameters if p.grad is not None and p.grad.is_sparse]
    whole = [p for p in parameters if not any(p is one for one in by_rows)]
    if clip.by == "norm":
        torch.nn.utils.clip_grads_with_norm_(whole, clip.limit, norm)
        for numbers in (numbers_of(p.grad) for p in by_rows if p.grad is not None):
            numbers.mul_((clip.limit / (norm + 1e-6)).clamp(max=1.0))  # as torch's
    else:
        torch.nn.utils.clip_grad_value_(whole, clip.limit)
        for numbers in (numbers_of(p.grad) for p in by_rows if p.grad is not None):
            numbers.clamp_(-clip.limit, clip.limit)
    return norm
