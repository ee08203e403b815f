"""The curves of a stage as TensorBoard's event files, where they are asked for, beside MLflow's.

They lie in `observations/<recipe>/tensorboard/`, one folder a run of a stage, so that runs are compared.
"""

import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path

from components.plumbing.errors import InputError

VARIABLE = "MODELYARD_TENSORBOARD"
"""The environment variable that asks for event files; `modelyard run --tensorboard` sets it for its stages."""
FOLDER = "tensorboard"


def is_wanted() -> bool:
    """Return whether event files are asked for; InputError where they are, but the package is missing."""
    if os.environ.get(VARIABLE, "0") in ("", "0"):
        return False
    if importlib.util.find_spec("tensorboard") is None:
        raise InputError(
            f"event files are asked for (--tensorboard, or {VARIABLE}), but the package tensorboard is not installed: "
            "pip install -c requirements.lock -e '.[tensorboard]'"
        )
    return True


class Events:
    """The event files of one run of a stage, made when the first point comes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.writer = None

    def add(self, values: Mapping[str, float], *, step: int) -> None:
        """Add points of curves."""
        if self.writer is None:
            from torch.utils.tensorboard import SummaryWriter  # takes a second

            self.writer = SummaryWriter(str(self.folder))
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is not written yet."""
        if self.writer is not None:
            self.writer.close()
