"""What a training runs on: one device, seeded, in deterministic algorithms."""

import logging
from dataclasses import dataclass

import torch

from components.params import Training
from components.training.precision import Precision, choose_precision

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Machine:
    device: torch.device
    precision: Precision


def start(params: Training) -> Machine:
    """Seed torch, and choose the device and the precision. Two runs on one machine then give the same weights."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision, speedup = choose_precision(params.precision, device=device)
    logger.info("training in %s on %s (bf16 is %.1f times as fast as fp32)", precision, device.type, speedup)
    torch.manual_seed(params.seed)
    torch.use_deterministic_algorithms(True)
    return Machine(device, precision)
