"""The ONNX Runtime sessions that every predictor uses."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from serving.bundle import reading

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

VARIABLE = "MODELYARD_DEVICE"
"""The environment variable that names the device: `cpu` (the default, on which the bundle was measured) or `cuda`."""
PROVIDERS = {"cpu": ("CPUExecutionProvider",), "cuda": ("CUDAExecutionProvider", "CPUExecutionProvider")}


class DeviceError(ValueError):
    """The error of a device that does not exist or cannot be used here."""


def open_session(path: Path) -> "InferenceSession":
    """Return the session of an ONNX model that uses one core per call; BundleError where it cannot be loaded.

    Calls on several threads share out the cores better than ONNX Runtime does.
    """
    import onnxruntime  # here, so that judging a torch model does not load it

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    with reading(path):
        return onnxruntime.InferenceSession(str(path), options, providers=list(PROVIDERS[device()]))


def device() -> str:
    return os.environ.get(VARIABLE) or "cpu"


def check_device() -> None:
    """Raise DeviceError where MODELYARD_DEVICE names a device on which this ONNX Runtime cannot compute.

    ONNX Runtime itself would fall back to the CPU without an error.
    """
    import onnxruntime

    if device() not in PROVIDERS:
        raise DeviceError(f"{VARIABLE} is '{device()}'; it may be {' or '.join(PROVIDERS)}")
    if device() == "cuda":
        if PROVIDERS["cuda"][0] not in onnxruntime.get_available_providers():
            raise DeviceError(f"{VARIABLE} is cuda, and this ONNX Runtime has no CUDA: install onnxruntime-gpu")
        onnxruntime.preload_dlls()  # those of the wheels that its extras 'cuda' and 'cudnn' bring
