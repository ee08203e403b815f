"""The number format of a training's matrix products, chosen by a measurement."""

import time
from typing import Literal

import torch

Precision = Literal["fp32", "bf16"]

SIZES = {"cpu": 768, "cuda": 4096}
"""By device, the rows of a square matrix whose product takes much longer than its call."""
MIN_SPEEDUP = 1.3
LARGE = {"cpu": 1024, "cuda": 8192}
"""By device, the rows of a square matrix whose product takes milliseconds, at nearly the most operations a second."""


def choose_precision(wanted: Literal["auto", "fp32", "bf16"], *, device: torch.device) -> tuple[Precision, float]:
    """Return the precision to use, and the measured speed-up of bf16 over fp32 (1.0 where none was measured).

    `auto` takes bf16 where a square matrix product is at least 1.3 times as fast in it: CPUs without bf16 instructions
    emulate them, and are slower.
    """
    if wanted != "auto":
        return wanted, 1.0
    if not has_bf16(device):
        return "fp32", 1.0
    speedup = _seconds("fp32", device) / _seconds("bf16", device)
    return ("bf16" if speedup >= MIN_SPEEDUP else "fp32"), speedup


def has_bf16(device: torch.device) -> bool:
    """Return whether the device computes in bf16; a CPU always does, if need be by emulation."""
    return device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)


def _seconds(precision: Precision, device: torch.device) -> float:
    """Return the shortest of several timings, in seconds, so that a busy moment of the machine does not decide."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    size = SIZES[device.type]
    left, right = (torch.ones(size, size, dtype=dtype, device=device) for _ in range(2))
    best = float("inf")
    for _ in range(8):
        start = time.perf_counter()
        product = left
        for _ in range(4):
            product = product @ right * (1 / size)
        product[0, 0].item()  # waits for an accelerator's queue
        best = min(best, time.perf_counter() - start)
    return best


def matrix_rate(precision: Precision, *, device: torch.device, budget_s: float = 0.05) -> float:
    """Return the floating-point operations per second of a product of large matrices, the best of those that fit into
    the budget: the most that a training in this precision can come to."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    size = LARGE[device.type]
    left, right = (torch.ones(size, size, dtype=dtype, device=device) for _ in range(2))
    best, end = float("inf"), time.perf_counter() + budget_s
    with torch.inference_mode():
        (left @ right)[0, 0].item()
        while best == float("inf") or time.perf_counter() < end:
            start = time.perf_counter()
            (left @ right)[0, 0].item()
            best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best
