"""The machine of a training: one device, seeded, with deterministic algorithms, and what else its weights hang on: the
number format, the number of threads (each adds up its part of a sum) and the processor's instructions."""

import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from components.params import Training
from components.plumbing.errors import InputError
from components.training.checkpoint import Manner, kept_manner
from components.training.precision import Precision, choose_precision, has_bf16
from components.training.ranks import ALONE, Ranks

logger = logging.getLogger(__name__)

CUBLAS = "CUBLAS_WORKSPACE_CONFIG"
"""The environment variable without which torch refuses matrix products on a GPU that are to be the same each time."""


@dataclass(frozen=True)
class Machine:
    """The device that a training runs on, and how."""

    device: torch.device
    precision: Precision
    num_threads: int
    """The number of threads that one operation is divided among on the processor."""
    instructions: str
    """The processor's vector instructions that torch uses (`AVX512`)."""
    card: str
    """The name of the GPU; empty without one."""
    ranks: Ranks = ALONE
    """The processes of the training."""

    def tags(self) -> dict[str, str]:
        """Return what two trainings need alike for the same weights, as tags of a run."""
        return {
            "device": self.device.type,
            "precision": self.precision,
            "num_threads": str(self.num_threads),
            "instructions": self.instructions,
            **({"card": self.card} if self.card else {}),
            "devices": f"{self.ranks.size} {self.ranks.parallel}".strip(),
        }


def start(params: Training, checkpoints: Path, *, stage: str, ranks: Ranks = ALONE) -> Machine:
    """Seed torch, and choose the device and the precision; two runs on one machine, with the same number of threads,
    then give the same weights.

    A training that left a checkpoint carries on in its precision, whatever a busy machine measures now, and with as
    many threads (`OMP_NUM_THREADS`) as it began with, on as many ranks. `stage` names the section that `params` is.

    Raise InputError where the GPU does not compute in the precision that is asked for.
    """
    device = ranks.device
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    if device.type == "cuda":
        os.environ.setdefault(CUBLAS, ":4096:8")  # read at the first product
        torch.backends.cudnn.allow_tf32 = False  # fp32 means fp32, for recurrent layers too
    kept = Manner(**ranks.first_does(lambda: asdict(kept_manner(checkpoints))))
    wanted = kept.precision or params.precision
    if wanted == "bf16" and not has_bf16(device):
        raise InputError(
            f"{stage}.precision is 'bf16', in which {card} does not compute; set it to 'fp32', or to 'auto', which "
            "then takes that"
        )
    precision, speedup = ranks.first_does(lambda: choose_precision(wanted, device=device))
    num_threads = torch.get_num_threads()
    if kept.num_threads and kept.num_threads != num_threads and kept.num_ranks == ranks.size:
        logger.info("carrying on with %d threads, as it began, not %d", kept.num_threads, num_threads)
        torch.set_num_threads(kept.num_threads)
        num_threads = kept.num_threads
    together = f" by each of {ranks.size} processes ({ranks.parallel})" if ranks.size > 1 else ""
    logger.info(
        "training in %s on %s with %d threads%s (bf16 is %.1f times as fast as fp32)",
        precision, card or device.type, num_threads, together, speedup,
    )  # fmt: skip
    torch.manual_seed(params.seed)
    torch.use_deterministic_algorithms(True)
    # With deterministic algorithms torch also fills each new tensor, for code that reads what it never wrote.
    torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore[reportAttributeAccessIssue]
    return Machine(device, precision, num_threads, torch.backends.cpu.get_cpu_capability(), card, ranks)
