"""The control: the same model trained on the labels alone, so that evaluate can tell what pretraining gained."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.plumbing.artifacts import write_json
from components.tracking.tracker import Tracker

CONTROL = "control.json"
PREFIX = "control_"


def write_no_control(folder: Path) -> None:
    """Write a note that there is no control into `folder`, which is made."""
    folder.mkdir(parents=True)
    write_json(folder / CONTROL, {"trained": False})


@dataclass(frozen=True)
class ControlTracker:
    """A tracker that names the control's curves and files apart from those of the model."""

    tracker: Tracker

    def log_metrics(self, values: Mapping[str, float], *, step: int) -> None:
        self.tracker.log_metrics({f"{PREFIX}{name}": value for name, value in values.items()}, step=step)

    def flush(self) -> None:
        self.tracker.flush()

    def log_file(self, path: Path, *, folder: str = "") -> None:
        self.tracker.log_file(path, folder=f"control/{folder}".rstrip("/"))

    def log_picture(self, picture: NDArray[np.uint8], name: str) -> None:
        self.tracker.log_picture(picture, f"control/{name}")

    def tag(self, values: Mapping[str, str]) -> None:
        self.tracker.tag({f"{PREFIX}{name}": value for name, value in values.items()})

    def provenance(self) -> dict[str, Any]:
        return self.tracker.provenance()

    def register_model(self, folder: Path, *, weights: Path) -> dict[str, str]:
        return self.tracker.register_model(folder, weights=weights)

    def champion_weights(self, folder: Path) -> Path | None:
        return self.tracker.champion_weights(folder)
