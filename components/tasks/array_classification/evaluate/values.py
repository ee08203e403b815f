"""The arrays of a split."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray


def read_values(path: Path) -> NDArray[np.float32]:
    """Read the arrays of a split as they came, not scaled, (N, V)."""
    column = pq.read_table(path, columns=["values"])["values"].combine_chunks()
    return column.flatten().to_numpy().reshape(len(column), -1)
