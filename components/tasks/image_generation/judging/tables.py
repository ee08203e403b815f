"""The table of samples, which compress compares with.

Legend: S samples, H and W their sides.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.tasks.image_generation.judging.classifier import Labels
from serving.predictors.pictures import Images

SAMPLES = "samples.parquet"


@dataclass(frozen=True)
class Samples:
    """The float generator's, as they were judged."""

    seed: int
    images: Images
    """(S, H, W)"""
    predicted: Labels
    """The class that each is taken for, (S,)."""


def write_samples(folder: Path, *, seed: int, images: Images, predicted: Labels) -> None:
    """seed, sample (its number), predicted_id, values (grey levels)."""
    pq.write_table(sample_table(seed=seed, images=images, predicted=predicted), folder / SAMPLES, compression="zstd")


def sample_table(*, seed: int, images: Images, predicted: Labels) -> pa.Table:
    """The samples as a table."""
    count, width = len(images), images[0].size
    offsets = pa.array(np.arange(count + 1, dtype=np.int32) * width)
    columns = {
        "seed": pa.array(np.full(count, seed), pa.int64()),
        "sample": pa.array(np.arange(count), pa.int64()),
        "predicted_id": pa.array(predicted, pa.int64()),
        "values": pa.ListArray.from_arrays(offsets, pa.array(images.ravel(), pa.uint8())),
    }
    return pa.table(columns)


def read_samples(folder: Path, *, shape: tuple[int, int]) -> Samples:
    """The samples that `write_samples` wrote."""
    table = pq.read_table(folder / SAMPLES)
    values = table["values"].combine_chunks().flatten().to_numpy()
    return Samples(
        seed=int(table["seed"][0].as_py()),
        images=values.reshape(len(table), *shape).copy(),  # what Arrow lends cannot be written to, which torch wants
        predicted=table["predicted_id"].to_numpy(),
    )
