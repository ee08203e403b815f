"""The axis of a setting in a plot of parallel coordinates: where a value lies on it, from 0 to 1, and its ticks."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from components.params.sweep import Choice, Range
from components.plumbing.plots import shown

OFF = object()
"""Stands for the value of a trial that lacks a setting."""
BELOW = -0.14
"""Where such a trial lies, and one whose value cannot lie on the axis, such as 0 on a logarithmic one."""
MAX_TICKS = 14

Tick = tuple[float, str]


@dataclass(frozen=True)
class Scale:
    """The axis of one setting."""

    place: Callable[[Any], float]
    ticks: tuple[Tick, ...]
    off: str = ""
    """What is said of the values below the axis; empty where there are none."""

    @classmethod
    def of_numbers(cls, span: tuple[float, float], *, is_log: bool = False, is_whole: bool = False) -> "Scale":
        """Return the axis of the numbers of a span whose ends differ."""
        form: Callable[[float], float] = math.log10 if is_log else float
        low, high = form(span[0]), form(span[1])

        def place(value: Any) -> float:
            if not is_number(value) or (is_log and value <= 0):
                return BELOW
            return (form(value) - low) / (high - low)

        ticks = (*log_ticks(low, high),) if is_log else (*plain_ticks(*span, is_whole=is_whole),)
        kept = [(place(tick), f"{tick:z.4g}") for tick in ticks]
        return cls(place, tuple(kept))

    @classmethod
    def of_choices(cls, choices: Sequence[Any]) -> "Scale":
        """Return the axis of some values, equally far from each other."""
        step = 1 / max(len(choices) - 1, 1)
        only = 0.5 if len(choices) == 1 else 0.0

        def place(value: Any) -> float:
            return next((only + step * at for at, one in enumerate(choices) if is_same(one, value)), BELOW)

        every = -(-len(choices) // MAX_TICKS)
        words = [shown(words_of(one), at, what="choice") for at, one in enumerate(choices)]
        return cls(place, tuple((only + step * at, words[at]) for at in range(0, len(choices), every)))


def scale_of(one: Choice | Range, values: Sequence[Any]) -> Scale:
    """Return the axis of a setting: what may be drawn, and values of trials that lie beyond."""
    if isinstance(one, Choice):
        choices = list[Any](one.choices)
        for value in values:
            if value is not OFF and not any(is_same(value, choice) for choice in choices):
                choices.append(value)
        scale = Scale.of_choices(choices)
    else:
        is_log = one.log is not None
        numbers = [float(value) for value in values if is_number(value) and (value > 0 or not is_log)]
        span = (min([one.ends[0], *numbers]), max([one.ends[1], *numbers]))
        scale = Scale.of_numbers(span, is_log=is_log, is_whole=is_whole(one))
    below = {"not drawn" if value is OFF else words_of(value) for value in values if scale.place(value) == BELOW}
    if not below:
        return scale
    return Scale(scale.place, scale.ticks, shown(next(iter(below)), 0, what="other") if len(below) == 1 else "other")


def is_whole(one: Range) -> bool:
    return one.uniform is None and one.log is None


def is_same(one: Any, other: Any) -> bool:
    """Return whether two values of a setting are the same; 1 is not true."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def words_of(value: Any) -> str:
    """Return a value of a setting as params.yaml would have it, with at most five digits."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return f"{value:z.5g}" if isinstance(value, float) else str(value)


def plain_ticks(low: float, high: float, *, is_whole: bool) -> list[float]:
    found = MaxNLocator(nbins=6, integer=is_whole).tick_values(low, high)
    reach = 1e-9 * (high - low)
    return [float(tick) for tick in found if low - reach <= tick <= high + reach]


def log_ticks(low: float, high: float) -> list[float]:
    """Return round numbers between two powers of 10: the powers, at most eight, or what lies between them too."""
    decades = np.arange(math.floor(low), math.ceil(high) + 1)
    steps = (1,) if high - low >= 2.5 else (1, 3) if high - low >= 1.2 else (1, 2, 5)
    every = -(-len(decades) // 8)
    found = [step * 10.0 ** int(decade) for decade in decades[::every] for step in steps]
    inside = [tick for tick in found if low - 1e-9 <= math.log10(tick) <= high + 1e-9]
    return inside if len(inside) >= 2 else [10**low, 10**high]
