"""The machine of a training: one device, seeded, with deterministic algorithms."""

import logging
from dataclasses import dataclass
from pathlib import Path

import torch

from components.params import Training
from components.training.checkpoint import kept_precision
from components.training.precision import Precision, choose_precision

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Machine:
    """The device and the number format that a training runs in."""

    device: torch.device
    precision: Precision


def start(params: Training, checkpoints: Path) -> Machine:
    """Seed torch, and choose the device and the precision; two runs on one machine then give the same weights.

    A training that left a checkpoint carries on in its precision, whatever a busy machine measures now.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kept = kept_precision(checkpoints)
    precision, speedup = choose_precision(
        "bf16" if kept == "bf16" else "fp32" if kept else params.precision, device=device
    )
    logger.info("training in %s on %s (bf16 is %.1f times as fast as fp32)", precision, device.type, speedup)
    torch.manual_seed(params.seed)
    torch.use_deterministic_algorithms(True)
    return Machine(device, precision)
