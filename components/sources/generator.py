"""Rows that a seeded program makes, as Parquet files; nothing is downloaded.

`teacher` draws vectors from a standard normal distribution and labels each with the largest output of a network of
random weights, one hidden layer of tanh (the teacher-student setting of Gardner and Derrida 1989). Every draw comes
from numpy's PCG64 and the products are taken in float64, so that the same settings give the same bytes.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from components.params import GeneratorSource
from components.plumbing.artifacts import disk_errors
from components.sources.fetched import Fetched, digest_of

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

# Of one file, which is held in memory whole while it is made.
MAX_CHUNK_BYTES = 16 * 2**20


def fetch(source: GeneratorSource, *, root: Path, folder: Path) -> Fetched:
    """Write one Parquet file per chunk of rows into `folder`, with the columns `values` (the vector) and `label` (`0`,
    `1`, … as text)."""
    del root  # no path is named
    import pyarrow.parquet as pq

    rows = folder / "rows"
    rows.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    for number, table in enumerate(MAKERS[source.name](source)):
        paths.append(rows / f"{number:06}.parquet")
        with disk_errors(paths[-1]):
            pq.write_table(table, paths[-1])
    return Fetched(tuple(paths), rows, digest_of(paths, top=rows), is_many=False)


def teacher_tables(source: GeneratorSource) -> Iterator["pa.Table"]:
    """Yield the teacher's rows in chunks; the size of the chunks does not change the rows."""
    import numpy as np
    import pyarrow as pa

    weights, vectors, is_noise, noise = (
        np.random.Generator(np.random.PCG64(seed)) for seed in np.random.SeedSequence(source.seed).spawn(4)
    )
    hidden = weights.standard_normal((source.num_features, source.hidden_size)) / source.num_features**0.5
    output = weights.standard_normal((source.hidden_size, source.num_classes))
    num_chunk_rows = max(MAX_CHUNK_BYTES // (8 * source.num_features), 1)
    for start in range(0, source.num_rows, num_chunk_rows):
        num_rows = min(num_chunk_rows, source.num_rows - start)
        values = vectors.standard_normal((num_rows, source.num_features), dtype=np.float32)
        labels = taught(values, hidden, output)
        # Both are drawn for every row, so that one row's noise does not move the next row's.
        drawn = noise.integers(source.num_classes, size=num_rows)
        labels = np.where(is_noise.random(num_rows) < source.noise, drawn, labels)
        ends = pa.array(np.arange(num_rows + 1, dtype=np.int32) * source.num_features)
        column = pa.ListArray.from_arrays(ends, pa.array(values.ravel()))
        yield pa.table({"values": column, "label": pa.array(labels.astype(str))})


def taught(
    values: "NDArray[np.float32]", hidden: "NDArray[np.float64]", output: "NDArray[np.float64]"
) -> "NDArray[np.int64]":
    """Return the class number that the teacher gives each row, (N,)."""
    import numpy as np

    return (np.tanh(values.astype(np.float64) @ hidden) @ output).argmax(axis=1)


MAKERS: dict[str, Callable[[GeneratorSource], Iterator["pa.Table"]]] = {"teacher": teacher_tables}

# What the data set's card says of the rows.
ORIGINS = {
    "teacher": "made by a program: vectors from a standard normal distribution, labelled by a network of random "
    "weights (one hidden layer of tanh); the share 'noise' of the labels is drawn at random",
}
