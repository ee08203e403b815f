"""One trial of a sweep: its settings and figures, and the file that keeps them."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from components.plumbing.artifacts import read_json, write_json
from components.plumbing.errors import ArtifactError

RESULT = "result.json"
State = Literal["done", "pruned", "failed"]
PRESENT = 0
"""The number of the trial that stands for the settings that params.yaml has."""


@dataclass(frozen=True)
class Trial:
    """A trial that has ended."""

    number: int
    settings: Mapping[str, Any]
    """The values that were tried, by their path below the recipe."""
    state: State
    value: float | None = None
    """The first objective; of a trial that was pruned, its best until then. None of one that failed, and of one that is
    not timed yet where it is a speed."""
    figures: Mapping[str, float] = field(default_factory=dict[str, float])
    """The figures of the validation split, and of what would be served, by name."""
    curve: tuple[tuple[float, float], ...] = ()
    """The first objective of the validation split after each look, by epoch."""
    seconds: float = 0.0
    reason: str = ""
    """Why it was pruned, or failed."""
    run_id: str = ""
    """The id of its run in MLflow."""


def figures_on_validation(report: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures of a training's report that are of the validation split and are finite numbers."""
    return {
        name: float(value) for name, value in report.items()
        if name.startswith("validation_") and isinstance(value, int | float) and math.isfinite(value)
    }  # fmt: skip


def read_trial(folder: Path) -> Trial | None:
    """Return the trial whose folder this is; None where it has not ended."""
    try:
        kept: dict[str, Any] = read_json(folder / RESULT)
    except ArtifactError:
        return None
    kept["curve"] = tuple((epoch, value) for epoch, value in kept["curve"])
    return Trial(**kept)


def write_trial(folder: Path, trial: Trial) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / RESULT, asdict(trial))
