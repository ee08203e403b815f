"""The real images of a split, in the grey levels in which samples are compared with them.

Legend: N images, H and W their sides.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from components.plumbing.artifacts import PREDICTOR, read_json
from components.plumbing.errors import InputError
from components.tasks.image_generation.judging.classifier import Labels
from serving.predictors.pictures import Images, grey_levels


@dataclass(frozen=True)
class Scale:
    """The facts of predictor.json about the values and their labels."""

    labels: tuple[str, ...]
    shape: tuple[int, int]
    offset: float
    scale: float


@dataclass(frozen=True)
class Real:
    """The images of a split, and their classes."""

    images: Images
    """The images in grey levels, (N, H, W)."""
    label_id: Labels
    """The class of each image, (N,)."""


def read_scale(predictor: Path) -> Scale:
    """Read the scale from predictor.json in preprocess's folder `predictor/`."""
    told: dict[str, Any] = read_json(predictor / PREDICTOR)
    height, width = told["shape"]
    return Scale(tuple(told["labels"]), (height, width), float(told["offset"]), float(told["scale"]))


def read_real(path: Path, scale: Scale) -> Real:
    """Read the images of a split in grey levels, from black at -1 in the model's scale to white at 1, as a generator's.

    Raise InputError where there are fewer than two rows.
    """
    table = pq.read_table(path, columns=["values", "label_id"])
    if len(table) < 2:
        raise InputError(f"{path.name} has {len(table)} rows, but a distance needs 2; change preprocess.split")
    values = table["values"].combine_chunks().flatten().to_numpy()
    rows = ((values - scale.offset) / scale.scale).astype(np.float32).reshape(len(table), -1)
    label_id = table["label_id"].to_numpy().astype(np.int64)
    return Real(images=grey_levels(rows, shape=scale.shape), label_id=label_id)
