"""The joining of a process with the other ranks of its training, which a launcher started together."""

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import torch

from components.params import Devices
from components.plumbing.errors import InputError
from components.plumbing.launched import FOLDER_VARIABLE, Launched, check_devices, launched
from components.training.ranks import ALONE, Ranks, belonging_to

INTERFACES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")
LOOPBACK = "lo"
FSDP_VARIABLE = "ACCELERATE_USE_FSDP"
"""The environment variable in which accelerate launch says that the model is to be sharded."""


@contextmanager
def joined(devices: Devices | None) -> Generator[Ranks]:
    """Have trainings in the block run on the ranks that a launcher started, this process among them.

    Raise InputError where they are not as many as `devices` says, or more than this machine has.
    """
    found = launched()
    check_number(found.size if found else 1, devices)
    if found is None or found.size == 1:
        yield ALONE
        return
    check_devices(found.local_size, torch.cuda.device_count())
    if found.local_size == found.size and sys.platform == "linux":
        for name in INTERFACES:  # nothing of it is for other machines to reach
            os.environ.setdefault(name, LOOPBACK)
    parallel = parallel_of(devices)
    os.environ.pop(FSDP_VARIABLE, None)  # which accelerate would follow by itself, where the recipe says otherwise
    with belonging_to(group_of(found, parallel=parallel)) as ranks:
        try:
            yield ranks
        finally:
            ranks.leave()


def group_of(found: Launched, *, parallel: str) -> Ranks:
    """Join the process group of a launcher's ranks, which begins once all of them are there."""
    from torch.distributed import DistError

    from components.training.many import Many, at_address, in_folder  # here, since one device needs no accelerate

    folder = os.environ.get(FOLDER_VARIABLE)
    try:
        store = in_folder(Path(folder), found.size) if folder else at_address()
    except (DistError, RuntimeError) as error:
        if "EADDRINUSE" not in str(error):
            raise
        address = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        raise InputError(
            f"the first of {found.size} ranks cannot listen at {address}, since another process does; start with "
            "another MASTER_PORT (torchrun --master-port), or with torchrun --standalone, which takes a free one"
        ) from error
    place = Path(folder) if folder else None
    return Many(store, found.rank, found.size, local_size=found.local_size, parallel=parallel, folder=place)


def parallel_of(devices: Devices | None) -> str:
    """Return what each device is to hold: what the recipe says, else what accelerate launch does."""
    if devices is not None:
        return devices.parallel
    return "fsdp" if os.environ.get(FSDP_VARIABLE, "").lower() == "true" else "ddp"


def check_number(size: int, devices: Devices | None) -> None:
    """Raise InputError where a launcher started another number of processes than the recipe says."""
    if devices is not None and devices.count != size:
        raise InputError(
            f"devices is {devices.count}, but the launcher started {size} process{'es' if size > 1 else ''}: let it "
            f"start {devices.count} (torchrun --nproc-per-node, times --nnodes), or set devices to {size} or to null, "
            "which takes the launcher's number"
        )
