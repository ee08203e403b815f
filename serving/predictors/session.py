"""ONNX Runtime as every predictor uses it."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

VARIABLE = "MODELYARD_DEVICE"
"""`cpu`, which the bundle was measured on and is served by if nothing is said, or `cuda`."""
PROVIDERS = {"cpu": ("CPUExecutionProvider",), "cuda": ("CUDAExecutionProvider", "CPUExecutionProvider")}


class DeviceError(ValueError):
    """A device that there is none of."""


def open_session(path: Path) -> "InferenceSession":
    """A model on one core a call: calls on several threads share out the cores better than ONNX Runtime does."""
    import onnxruntime  # here, so that judging a torch model does not load it

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=list(PROVIDERS[device()]))


def device() -> str:
    return os.environ.get(VARIABLE) or "cpu"


def check_device() -> None:
    """DeviceError where MODELYARD_DEVICE names what this ONNX Runtime cannot compute on, which would fall back."""
    import onnxruntime

    if device() not in PROVIDERS:
        raise DeviceError(f"{VARIABLE} is '{device()}'; it may be {' or '.join(PROVIDERS)}")
    if device() == "cuda":
        if PROVIDERS["cuda"][0] not in onnxruntime.get_available_providers():
            raise DeviceError(f"{VARIABLE} is cuda, and this ONNX Runtime has no CUDA: install onnxruntime-gpu")
        onnxruntime.preload_dlls()  # those of the wheels that its extras 'cuda' and 'cudnn' bring
