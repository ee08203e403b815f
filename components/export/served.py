"""An int8 model with what a predictor of serving/ needs beside it."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import onnx

from components.export.int8 import quantize


def write_int8(graphs: Mapping[str, onnx.ModelProto], *, predictor: Path, folder: Path) -> None:
    """Write into a new folder what a predictor of serving/ loads: preprocess's files for it, and the graphs in int8 by
    their file names."""
    shutil.copytree(predictor, folder)
    for name, graph in graphs.items():
        quantize(graph, folder / name)
