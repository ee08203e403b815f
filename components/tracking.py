"""The one door to MLflow. Stages see a `Tracker`; only this file knows what is behind it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol


class Tracker(Protocol):
    """Where a stage reports what it sees while it works."""

    def log_metrics(self, values: Mapping[str, float], *, step: int) -> None:
        """Points of curves, at a step (an epoch, a batch)."""
        ...

    def log_file(self, path: Path, *, folder: str = "") -> None:
        """A file or a whole folder, shown below `folder` of the run's artifacts."""
        ...

    def provenance(self) -> dict[str, Any]:
        """Which commit and which runs the work came from: `git_commit`, `runs` (stage → run id)."""
        ...

    def register_model(self, folder: Path, *, digest: str) -> dict[str, str]:
        """Make a folder a version in the model registry; gives `name`, `version` and `alias`."""
        ...


class NullTracker:
    """Keeps nothing: for a stage that is run on its own, by a test or in a notebook."""

    def log_metrics(self, values: Mapping[str, float], *, step: int) -> None:
        pass

    def log_file(self, path: Path, *, folder: str = "") -> None:
        pass

    def provenance(self) -> dict[str, Any]:
        return {"git_commit": None, "runs": {}}

    def register_model(self, folder: Path, *, digest: str) -> dict[str, str]:
        return {"name": "", "version": "", "alias": ""}
