"""The interface by which a stage tells of its work while it works; stage_run.py has the MLflow run behind it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

SEND_EVERY_S = 5.0
"""The seconds for which points of curves may be gathered before they are sent together."""


class Tracker(Protocol):
    """The interface by which a stage reports what it sees while it works."""

    def log_metrics(self, values: Mapping[str, float], *, step: int) -> None:
        """Log points of curves, at a step (an epoch, a batch); they may be gathered for SEND_EVERY_S."""
        ...

    def flush(self) -> None:
        """Send the points that are gathered, as before a checkpoint, after which they are not logged again."""
        ...

    def log_file(self, path: Path, *, folder: str = "") -> None:
        """Log a file or a whole folder, below `folder` of the run's artifacts."""
        ...

    def log_picture(self, picture: NDArray[np.uint8], name: str) -> None:
        """Log a grey picture (its height, its width) as a PNG, at a path below the run's artifacts."""
        ...

    def tag(self, values: Mapping[str, str]) -> None:
        """Note what the work was done with, in words by name."""
        ...

    def provenance(self) -> dict[str, Any]:
        """Return the commit and the runs that the work came from: `git_commit`, `runs` (stage → run id)."""
        ...

    def register_model(self, folder: Path, *, weights: Path) -> dict[str, str]:
        """Make a folder a version in the model registry, with the float weights that it was made from, from which a
        later training can start; return `name`, `version` and `alias`."""
        ...

    def champion_weights(self, folder: Path) -> Path | None:
        """Bring the float weights of the recipe's champion into `folder`; return the folder in which they lie, or None
        where no version is the champion. ArtifactError where they are not what was registered."""
        ...


class NullTracker:
    """A tracker that keeps nothing: for a stage that is run on its own, by a test or in a notebook."""

    def log_metrics(self, values: Mapping[str, float], *, step: int) -> None:
        pass

    def flush(self) -> None:
        pass

    def log_file(self, path: Path, *, folder: str = "") -> None:
        pass

    def log_picture(self, picture: NDArray[np.uint8], name: str) -> None:
        pass

    def tag(self, values: Mapping[str, str]) -> None:
        pass

    def provenance(self) -> dict[str, Any]:
        return {"git_commit": None, "runs": {}}

    def register_model(self, folder: Path, *, weights: Path) -> dict[str, str]:
        return {"name": "", "version": "", "alias": ""}

    def champion_weights(self, folder: Path) -> Path | None:
        return None
