"""A tracker of one of several trainings in a run, which names its curves, tags and files apart from the others'."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.tracking.tracker import Tracker


@dataclass(frozen=True)
class NamedTracker:
    tracker: Tracker
    name: str
    """The training's name: `<name>_` comes before curves and tags, and `<name>/` before files."""

    def log_metrics(self, values: Mapping[str, float], *, step: int) -> None:
        self.tracker.log_metrics({f"{self.name}_{name}": value for name, value in values.items()}, step=step)

    def flush(self) -> None:
        self.tracker.flush()

    def log_file(self, path: Path, *, folder: str = "") -> None:
        self.tracker.log_file(path, folder=f"{self.name}/{folder}".rstrip("/"))

    def log_picture(self, picture: NDArray[np.uint8], name: str) -> None:
        self.tracker.log_picture(picture, f"{self.name}/{name}")

    def tag(self, values: Mapping[str, str]) -> None:
        self.tracker.tag({f"{self.name}_{name}": value for name, value in values.items()})

    def provenance(self) -> dict[str, Any]:
        return self.tracker.provenance()

    def register_model(self, folder: Path, *, weights: Path) -> dict[str, str]:
        return self.tracker.register_model(folder, weights=weights)

    def champion_weights(self, folder: Path) -> Path | None:
        return self.tracker.champion_weights(folder)
