"""The variables that a launcher sets in the environment of each process of a training on several devices.

torchrun and accelerate launch set the same (`RANK`, `WORLD_SIZE`, `LOCAL_RANK`, `LOCAL_WORLD_SIZE`, and the address
at which the processes meet); so does components/launching.py, whose processes meet in a folder.
"""

import os
from dataclasses import dataclass

from components.plumbing.errors import InputError

FOLDER_VARIABLE = "MODELYARD_RANKS"
"""The environment variable with the folder in which the processes of one machine meet."""
ENDED = "ended.json"
"""The file in that folder that says which process ended before its time, and how."""


@dataclass(frozen=True)
class Launched:
    """The place of a process among those of its training."""

    rank: int
    size: int
    local_size: int
    """The number of processes on this machine."""


def launched() -> Launched | None:
    """Return the place that a launcher gave to this process; None where it was started alone.

    Raise InputError where the environment says a part alone.
    """
    size = os.environ.get("WORLD_SIZE")
    if size is None or (size == "1" and "RANK" not in os.environ):
        return None
    try:
        return Launched(int(os.environ["RANK"]), int(size), int(os.environ.get("LOCAL_WORLD_SIZE", size)))
    except (KeyError, ValueError) as error:
        raise InputError(
            f"WORLD_SIZE is {size}, as a launcher sets it, but RANK is {os.environ.get('RANK')!r}: start with torchrun "
            "or accelerate launch, or unset WORLD_SIZE"
        ) from error


def num_cores() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_devices(num_wanted: int, num_gpus: int) -> None:
    """Raise InputError where this machine has fewer devices than processes of a training."""
    num_there = num_gpus or num_cores()
    if num_wanted > num_there:
        kind = "GPUs" if num_gpus else "cores and no GPU"
        raise InputError(
            f"{num_wanted} devices are asked for, but this machine has {num_there} {kind}: set devices to {num_there} "
            "or fewer, or start on several machines with torchrun --nnodes (docs/scaling.md)"
        )
