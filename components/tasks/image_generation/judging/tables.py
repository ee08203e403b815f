"""The table of samples, with which compress compares its own.

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
    """The samples of the float generator, as evaluate judged them."""

    seed: int
    images: Images
    """The samples in grey levels, (S, H, W)."""
    predicted: Labels
    """The class that each sample is taken for, (S,)."""


def write_samples(folder: Path, *, seed: int, images: Images, predicted: Labels) -> None:
    """Write samples.parquet, with the columns seed, sample (its number), predicted_id and values (grey levels)."""
    pq.write_table(sample_table(seed=seed, images=images, predicted=predicted), folder / SAMPLES, compression="zstd")


def sample_table(*, seed: int, images: Images, predicted: Labels) -> pa.Table:
    """Return the samples as a table with seed, sample (its number), predicted_id and values (grey levels)."""
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
    """Read the samples that `write_samples` wrote; `shape` holds the height and the width of an image."""
    table = pq.read_table(folder / SAMPLES)
    values = table["values"].combine_chunks().flatten().to_numpy()
    return Samples(
        seed=int(table["seed"][0].as_py()),
        images=values.reshape(len(table), *shape).copy(),  # what Arrow lends cannot be written to, which torch wants
        predicted=table["predicted_id"].to_numpy(),
    )
