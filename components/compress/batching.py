"""Whether a candidate's answers are the same bits in any batch, found by trying it as it is served.

A batch may change a row's answer: a scale of the whole tensor follows the other rows, a kernel for several rows adds up
in another order than that for one, and padding takes part in both. Where nothing of that is seen, the candidate's
folder gets a `batching.json` by which the predictors of serving/ make their batches.

Shapes: N rows, B rows of a batch, L labels.
"""

import logging
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from components.plumbing.artifacts import write_json
from serving.predictors.batching import BATCHING

logger = logging.getLogger(__name__)

NUM_ROWS = 128
NUM_ORDERS = 6
SEED = 0


class Batched(Protocol):
    """A predictor of `serving/predictors`."""

    def predict(self, rows: Any, /) -> NDArray[np.float32]: ...


def settle_batches(folder: Path, rows: Sequence[Any], *, load: Callable[[Path, int], Batched], most: int) -> int:
    """Return the most rows of a call that leave each row its bits, `most` or 1, and write it into the candidate's
    folder.

    `load` returns the predictor of a folder that takes at most so many rows a call.
    """
    tried = spread(sorted(rows, key=len), max(NUM_ROWS, 2 * most))
    most = min(most, len(tried))
    batch_size = most if is_steady(load(folder, 1), load(folder, most), tried, most=most) else 1
    write_json(folder / BATCHING, {"batch_size": batch_size})
    return batch_size


def spread(rows: Sequence[Any], number: int) -> list[Any]:
    """Return at most `number` of the rows, evenly spread, the first and the last among them."""
    chosen = np.linspace(0, len(rows) - 1, min(number, len(rows))).round().astype(np.int64)
    return [rows[index] for index in chosen.tolist()]


def is_steady(one_by_one: Batched, batched: Batched, rows: Sequence[Any], *, most: int) -> bool:
    """Return whether every row has the same bits alone and in each of many batches."""
    alone = one_by_one.predict(rows)  # (N, L)
    for batch in batches(len(rows), most=most):
        found = batched.predict([rows[index] for index in batch])  # (B, L)
        if found.tobytes() != alone[batch].tobytes():
            worst = np.abs(found - alone[batch]).max()
            logger.info("a batch of %d rows changes scores by up to %.2g: one row a call", len(batch), worst)
            return False
    return True


def batches(num_rows: int, *, most: int) -> Generator[NDArray[np.int64]]:
    """Yield batches of the numbers of all rows, NUM_ORDERS times: of neighbours, which are of like lengths, and of any
    rows, by turns; first of `most` rows each, then of all sizes, the small ones as often as the large ones, since
    kernels take rows in groups and differ in what is left."""
    rng = np.random.default_rng(SEED)
    for number in range(NUM_ORDERS):
        order = rng.permutation(num_rows) if number % 2 else np.arange(num_rows)
        start = 0
        while start < num_rows:
            size = most if number < 2 else int((most + 1) ** rng.random())
            yield order[start : start + size]
            start += size
