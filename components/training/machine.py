"""The machine of a training: one device, seeded, with deterministic algorithms, and what else its weights hang on: the
number format, the number of threads (each adds up its part of a sum) and the processor's instructions."""

import logging
from dataclasses import dataclass
from pathlib import Path

import torch

from components.params import Training
from components.training.checkpoint import kept_manner
from components.training.precision import Precision, choose_precision

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Machine:
    """The device that a training runs on, and how."""

    device: torch.device
    precision: Precision
    num_threads: int
    """The number of threads that one operation is divided among on the processor."""
    instructions: str
    """The processor's vector instructions that torch uses (`AVX512`)."""

    def tags(self) -> dict[str, str]:
        """Return what two trainings need alike for the same weights, as tags of a run."""
        return {
            "device": self.device.type,
            "precision": self.precision,
            "num_threads": str(self.num_threads),
            "instructions": self.instructions,
        }


def start(params: Training, checkpoints: Path) -> Machine:
    """Seed torch, and choose the device and the precision; two runs on one machine, with the same number of threads,
    then give the same weights.

    A training that left a checkpoint carries on in its precision, whatever a busy machine measures now, and with as
    many threads (`OMP_NUM_THREADS`) as it began with.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kept = kept_manner(checkpoints)
    precision, speedup = choose_precision(kept.precision or params.precision, device=device)
    num_threads = torch.get_num_threads()
    if kept.num_threads and kept.num_threads != num_threads:
        logger.info("carrying on with %d threads, as it began, not %d", kept.num_threads, num_threads)
        torch.set_num_threads(kept.num_threads)
        num_threads = kept.num_threads
    logger.info(
        "training in %s on %s with %d threads (bf16 is %.1f times as fast as fp32)",
        precision, device.type, num_threads, speedup,
    )  # fmt: skip
    torch.manual_seed(params.seed)
    torch.use_deterministic_algorithms(True)
    return Machine(device, precision, num_threads, torch.backends.cpu.get_cpu_capability())
