"""ONNX Runtime as every predictor uses it."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


def open_session(path: Path) -> "InferenceSession":
    """A model on one core a call: calls on several threads share out the cores better than ONNX Runtime does."""
    import onnxruntime  # here, so that judging a torch model does not load it

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
