"""The ranks of a training on this machine: as many processes as the recipe has devices, each of which runs the stage.

They meet in a folder, and speak over the loopback interface. torchrun and accelerate launch start the same processes,
also on several machines (docs/scaling.md).
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from components.plumbing.artifacts import write_json
from components.plumbing.errors import ModelyardError
from components.plumbing.launched import ENDED, FOLDER_VARIABLE, check_devices, num_cores
from components.plumbing.processes import POLL_S, end, end_with_parent, last_line

THREADS = "OMP_NUM_THREADS"
INTERRUPTED = 130
GRACE_S = 30.0
"""The seconds that the other ranks have to end by themselves once one has: they miss it as they next wait for it."""


def launch(command: Sequence[str], num_ranks: int) -> int:
    """Run a command as each rank of a training on this machine; return the exit code of the first.

    Only the first one's output is shown. Raise InputError where there are fewer devices, and ModelyardError where a
    rank was killed.
    """
    if num_ranks > num_cores():  # else each rank sees for itself
        import torch  # here, since it takes a second

        check_devices(num_ranks, torch.cuda.device_count())
    with tempfile.TemporaryDirectory(prefix="modelyard-ranks-") as folder:
        ranks: list[psutil.Popen] = []
        try:
            for rank in range(num_ranks):
                ranks.append(start(command, rank, num_ranks, folder=Path(folder)))
            return watched(ranks, folder=Path(folder))
        except KeyboardInterrupt:
            return INTERRUPTED  # which the first rank says
        finally:
            end(ranks, timeout_s=GRACE_S)


def start(command: Sequence[str], rank: int, size: int, *, folder: Path) -> psutil.Popen:
    """Start one rank; what the others than the first say goes to a file."""
    threads = {THREADS: str(max(1, num_cores() // size))}  # of the processor, which they share
    own = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, FOLDER_VARIABLE: folder}
    environment = threads | os.environ | {name: str(value) for name, value in own.items()}
    with log_of(folder, rank).open("wb") as log:
        output = log if rank else None
        return psutil.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            preexec_fn=end_with_parent(),
        )  # fmt: skip


def watched(ranks: Sequence[psutil.Popen], *, folder: Path) -> int:
    """Return the first rank's exit code once all have ended; end the others where one does not do so by itself."""
    size, failed, give_up_at = len(ranks), None, float("inf")
    while ranks[0].poll() is None and time.monotonic() < give_up_at:
        if failed is None:
            failed = next((rank for rank in range(1, size) if ranks[rank].poll()), None)
            if failed is not None:
                give_up_at = time.monotonic() + GRACE_S
                write_json(folder / ENDED, how_ended(failed, ranks), durable=False)  # for the first, which says it
        time.sleep(POLL_S)
    code = ranks[0].poll()
    if code is None or code < 0:
        told = how_ended(failed or 0, ranks)
        if failed is not None and (last := last_line(log_of(folder, failed))):
            told = f"rank {failed} of {size}: {last}"
        raise ModelyardError(f"{told}; run the same command again, and training carries on from its last checkpoint")
    return code


def how_ended(rank: int, ranks: Sequence[psutil.Popen]) -> str:
    """Return in words how a rank ended."""
    code = ranks[rank].poll()
    how = f"was killed by {signal.Signals(-code).name}" if code is not None and code < 0 else f"ended with code {code}"
    return f"rank {rank} of {len(ranks)} {how}"


def log_of(folder: Path, rank: int) -> Path:
    return folder / f"rank_{rank}.log"


def command_of(stage: str, recipe: str, *options: str) -> list[str]:
    """Return the command of a stage of a recipe, which each rank runs."""
    return [sys.executable, "-m", "components", stage, recipe, *options]
