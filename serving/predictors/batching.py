"""The number of rows that a call of a model takes: as many as leave each row the bits that it gets alone.

`compress` finds it by trying and leaves it in `batching.json`; a model without that file takes one row a call. Dynamic
int8 with one scale for the whole tensor is such a model, and so are kernels that add up a product of several rows in
another order than that of one.
"""

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from serving.bundle import reading

BATCHING = "batching.json"
MAX_BATCH_SIZE = 1024

Part = TypeVar("Part")
Found = TypeVar("Found")


def load_batch_size(folder: Path) -> int:
    """Return the most rows of a call of the model in a folder; BundleError where its file cannot be read."""
    path = folder / BATCHING
    if not path.is_file():
        return 1
    with reading(path):
        batch_size = json.loads(path.read_text(encoding="utf-8"))["batch_size"]
        if type(batch_size) is not int or not 1 <= batch_size <= MAX_BATCH_SIZE:
            raise ValueError(f"batch_size is {batch_size!r}; a whole number from 1 to {MAX_BATCH_SIZE} is meant")
    return batch_size


class Workers:
    """The threads on which a predictor calls its model, of which one is that of the caller."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.others = ThreadPoolExecutor(number - 1, thread_name_prefix="predictor") if number > 1 else None

    def map(self, function: Callable[[Part], Found], parts: Sequence[Part]) -> list[Found]:
        """Return what a function returns for each part, in their order.

        Each thread takes one part after another: handing over each by itself would cost more than a small model.
        """
        if self.others is None or len(parts) < 2:
            return [function(part) for part in parts]
        found: dict[int, Found] = {}
        left = iter(range(len(parts)))

        def work() -> None:
            for number in left:
                found[number] = function(parts[number])

        helping = [self.others.submit(work) for _ in range(min(self.number, len(parts)) - 1)]
        try:
            work()
        finally:
            for other in helping:
                if not other.cancel():  # one that has not begun is not needed any more
                    other.result()
        return [found[number] for number in range(len(parts))]

    def share(self, num_rows: int, *, most: int) -> int:
        """Return how many of the rows a part has, at most `most`, so that every thread gets some."""
        return max(1, min(most, -(-num_rows // self.number)))


def alike(lengths: Sequence[int], *, most: int, spare: int) -> list[list[int]]:
    """Return the numbers of the rows of each batch: at most `most` rows, each padded by at most `spare` to the longest
    of its batch. The longest rows come first, so that no thread is left with a long batch at the end."""
    batches: list[list[int]] = []
    longest = 0
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        if not batches or len(batches[-1]) == most or longest - lengths[row] > spare:
            batches.append([])
            longest = lengths[row]
        batches[-1].append(row)
    return batches
