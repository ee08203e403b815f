"""Scores that are right as often as they say: what was fitted on the validation split, applied to a model's scores.

A bundle that holds `calibration.json` serves calibrated scores; one without it serves them as the model gives them. A
temperature (Guo et al. 2017) makes all scores less or more sure and leaves their order as it is. Isotonic regression
(Zadrozny & Elkan 2002), one label against the rest and then made to add up to one, may change which label is the
likeliest. Each row's scores depend on that row alone.

Shapes: N rows, L labels, K knots of one label.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from serving.bundle import BundleError, reading
from serving.predictors.scores import Scores, softmax, sure

CALIBRATION = "calibration.json"
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.01, 100.0
MAX_KNOTS = 100
LEAST = float(np.finfo(np.float32).tiny)  # a score that fp32 rounds to zero still has a logarithm


@dataclass(frozen=True)
class Temperature:
    value: float
    """The number by which logits are divided: above 1 where the model was too sure."""

    def apply(self, scores: Scores) -> Scores:
        """Return the softmax of the logits behind the scores (N, L), each divided by the temperature."""
        return softmax(logits_of(scores) / self.value)

    def as_data(self) -> dict[str, Any]:
        return {"method": "temperature", "temperature": self.value}


@dataclass(frozen=True)
class Knots:
    """The points of a rising line, K each; the ends of the line go on level."""

    score: tuple[float, ...]
    """The scores of a label as the model gives them, rising."""
    share: tuple[float, ...]
    """The share of rows with that score that have the label, above 0 and not falling."""


@dataclass(frozen=True)
class Isotonic:
    knots: tuple[Knots, ...]
    """The line of each label, in the order of the labels."""

    def apply(self, scores: Scores) -> Scores:
        """Return the share that each label's line gives its score, (N, L), divided by their sum over the labels."""
        lines = [np.interp(scores[:, number], one.score, one.share) for number, one in enumerate(self.knots)]
        shares = np.stack(lines, axis=1)  # (N, L)
        return (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)

    def as_data(self) -> dict[str, Any]:
        knots = [{"score": list(one.score), "share": list(one.share)} for one in self.knots]
        return {"method": "isotonic", "knots": knots}


@dataclass(frozen=True)
class Calibration:
    """The contents of calibration.json."""

    way: Temperature | Isotonic
    threshold: float | None = None
    """The least confidence (the score of the likeliest label, calibrated) of an answer that is not "I do not know";
    None where every answer counts."""
    precision: float | None = None
    """The share of right ones among the answers that count, by which the threshold was chosen."""

    @property
    def method(self) -> Literal["temperature", "isotonic"]:
        return "temperature" if isinstance(self.way, Temperature) else "isotonic"

    def is_sure(self, scores: Scores) -> NDArray[np.bool_]:
        """Return whether the answer of each row of calibrated scores (N, L) counts, as (N,)."""
        return sure(scores, threshold=self.threshold)

    def as_data(self) -> dict[str, Any]:
        return {**self.way.as_data(), "threshold": self.threshold, "precision": self.precision}


def logits_of(scores: Scores) -> NDArray[np.float64]:
    """Return the logits behind the scores (N, L), but for a constant of each row, in the shape of the scores."""
    return np.log(np.maximum(scores.astype(np.float64), LEAST))


def load_calibration(folder: Path, *, num_labels: int) -> Calibration | None:
    """Return the calibration of the model in a folder; None where it has none. BundleError where the file cannot be
    read or does not fit the model."""
    path = folder / CALIBRATION
    if not path.is_file():
        return None
    with reading(path):
        found = calibration_of(json.loads(path.read_text(encoding="utf-8")))
        fault = fault_of(found, num_labels=num_labels)
    if fault is not None:
        raise BundleError(f"{CALIBRATION} {fault}; run evaluate, compress and package again")
    return found


def may_abstain(folder: Path) -> bool:
    """Return whether the answers of the model in a folder say whether they abstain."""
    path = folder / CALIBRATION
    if not path.is_file():
        return False
    with reading(path):
        return calibration_of(json.loads(path.read_text(encoding="utf-8"))).threshold is not None


def calibration_of(raw: Any) -> Calibration:
    """Return what calibration.json says; ValueError, KeyError or TypeError where it says something else."""
    ways = {
        "temperature": lambda: Temperature(float(raw["temperature"])),
        "isotonic": lambda: Isotonic(
            tuple(Knots(tuple(map(float, one["score"])), tuple(map(float, one["share"]))) for one in raw["knots"])
        ),
    }
    if raw["method"] not in ways:
        raise ValueError(f"method is {raw['method']!r}; known are {', '.join(ways)}")
    threshold, precision = (None if raw[name] is None else float(raw[name]) for name in ("threshold", "precision"))
    return Calibration(ways[raw["method"]](), threshold, precision)


def fault_of(found: Calibration, *, num_labels: int) -> str | None:
    """Return what is wrong with a calibration of a model with `num_labels` labels, in words; None where it is sound."""
    if isinstance(found.way, Temperature):
        if not MIN_TEMPERATURE < found.way.value < MAX_TEMPERATURE:  # which is what no number is not, either
            return (
                f"has the temperature {found.way.value}; between {MIN_TEMPERATURE:g} and {MAX_TEMPERATURE:g} is meant"
            )
    elif len(found.way.knots) != num_labels:
        return f"has lines for {len(found.way.knots)} labels; the model has {num_labels}"
    elif (fault := next(filter(None, map(fault_of_knots, found.way.knots)), None)) is not None:
        return fault
    for name, value in (("threshold", found.threshold), ("precision", found.precision)):
        if value is not None and not 0 <= value <= 1:
            return f"has the {name} {value}; from 0 to 1 is meant"
    return None


def fault_of_knots(knots: Knots) -> str | None:
    """Return what is wrong with a line, in words; None where it is sound."""
    if len(knots.score) != len(knots.share) or not 1 <= len(knots.score) <= MAX_KNOTS:
        return f"has a line of {len(knots.score)} scores and {len(knots.share)} shares; from 1 to {MAX_KNOTS} are meant"
    if not all(map(math.isfinite, (*knots.score, *knots.share))):
        return "has a line with a number that is not finite"
    if not is_rising(knots.score, strictly=True) or not is_rising(knots.share, strictly=False):
        return "has a line that does not rise"
    if knots.share[0] <= 0 or knots.share[-1] > 1:
        return f"has a line from {knots.share[0]:g} to {knots.share[-1]:g}; above 0 and at most 1 is meant"
    return None


def is_rising(values: Sequence[float], *, strictly: bool) -> bool:
    return all(one < other or (one == other and not strictly) for one, other in pairwise(values))
