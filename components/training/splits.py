"""The files of a split: columns with a number in each row, or with a list of numbers.

preprocess writes Parquet. Rows that are made up (components/estimate, benchmarks/gpu.py) lie in safetensors, which
needs no pyarrow, so a machine that only trains can do without it.

Legend: N rows of a split.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from components.training.batches import Arrays, Rows

OFFSETS = ".offsets"
"""The end of the name under which a safetensors file has a column's offsets."""


@dataclass(frozen=True)
class Lists:
    """A column of lists, laid end to end."""

    flat: NDArray[Any]
    offsets: NDArray[np.integer]
    """Where in `flat` each row's list begins, and where the last one ends, (N + 1,)."""

    @property
    def lengths(self) -> NDArray[np.integer]:
        """The number of values of each row, (N,)."""
        return np.diff(self.offsets)

    def apart(self) -> list[NDArray[Any]]:
        """Return each row's list."""
        return [self.flat[start:stop] for start, stop in pairwise(self.offsets)]


@dataclass(frozen=True)
class Split:
    """Columns of a split."""

    numbers: Mapping[str, NDArray[Any]]
    """The columns with a number in each row, (N,) each."""
    lists: Mapping[str, Lists]

    def __len__(self) -> int:
        return len(self.numbers["row"])


def read_split(path: Path, columns: Sequence[str]) -> Split:
    """Read the named columns of a split, and its column `row`."""
    names = {"row", *columns}
    return _from_safetensors(path, names) if path.suffix == ".safetensors" else _from_parquet(path, names)


def _from_safetensors(path: Path, names: set[str]) -> Split:
    found = load_file(path)
    lists = {name: Lists(found[name], found[name + OFFSETS]) for name in names if name + OFFSETS in found}
    return Split({name: found[name] for name in names - lists.keys()}, lists)


def _from_parquet(path: Path, names: set[str]) -> Split:
    import pyarrow as pa  # here, since made-up rows need none
    import pyarrow.parquet as pq

    table = pq.read_table(path, columns=sorted(names))
    numbers: dict[str, NDArray[Any]] = {}
    lists: dict[str, Lists] = {}
    for name in names:
        column = table[name]
        if isinstance(column.type, pa.ListType | pa.LargeListType):
            whole = column.combine_chunks()
            offsets = whole.offsets.to_numpy()
            lists[name] = Lists(whole.flatten().to_numpy(), offsets - offsets[0])
        else:
            numbers[name] = column.to_numpy()
    return Split(numbers, lists)


def write_split(path: Path, split: Split) -> None:
    """Write a split as safetensors."""
    lists = {name: column.flat for name, column in split.lists.items()}
    offsets = {name + OFFSETS: column.offsets for name, column in split.lists.items()}
    save_file({**split.numbers, **lists, **offsets}, path)


def count_rows(path: Path) -> int:
    """Return the number of rows of a split, as the file's header or footer counts them."""
    if path.suffix == ".safetensors":
        return _num_numbers(path, "row")
    import pyarrow.parquet as pq

    return pq.read_metadata(path).num_rows


def count_values(path: Path, column: str) -> int:
    """Return the number of values of all rows of a column of lists, as the file's header or footer counts them."""
    if path.suffix == ".safetensors":
        return _num_numbers(path, column)
    import pyarrow.parquet as pq

    found = pq.read_metadata(path)
    place = [found.schema.column(i).path.split(".")[0] for i in range(found.num_columns)].index(column)
    return sum(found.row_group(i).column(place).num_values for i in range(found.num_row_groups))


def _num_numbers(path: Path, name: str) -> int:
    with safe_open(path, framework="numpy") as file:
        return file.get_slice(name).get_shape()[0]


def read_rows(path: Path) -> Rows:
    """Read a split of tokenized texts."""
    split = read_split(path, ["input_ids", "label_id"])
    return Rows(split.numbers["row"], split.lists["input_ids"].apart(), split.numbers["label_id"])


def read_arrays(path: Path, *, shape: tuple[int, ...]) -> Arrays:
    """Read a split of arrays, each of the given shape."""
    split = read_split(path, ["values", "label_id"])
    values = split.lists["values"].flat.astype(np.float32, copy=False).reshape(len(split), *shape)
    return Arrays(split.numbers["row"], values, split.numbers["label_id"])
