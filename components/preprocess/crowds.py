"""Near-duplicates among many texts that are nearly alike, all pairs at once.

Texts of one template (notices, forms, generated tickets) agree in most of their shingles, so that hashing in bands puts
all of them together, and most pairs lie just below the threshold. What two of them share is counted exactly, by
products of matrices: the shingles that many texts have are columns of a dense one, all others of a sparse one.

Legend: N texts, D dense columns, B texts of a block.
"""

from collections.abc import Iterator
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.sparse import csr_array

from components.params import NearDuplicates
from components.plumbing.progress import progress
from components.preprocess.neighbours import CompareCrowd, Confirm, Rows
from components.preprocess.shingles import blocks, shingle_sets

BLOCK_ROWS = 256
NUM_DENSE = 256
"""The number of shingles, the most frequent ones, that are counted by a dense product."""


def crowd_of(texts: pa.LargeStringArray, params: NearDuplicates) -> CompareCrowd:
    """Return the comparison of a crowd of rows of `texts`."""
    return partial(pairs_of_crowd, texts, threshold=params.threshold, size=params.shingle_size)


def pairs_of_crowd(
    texts: pa.LargeStringArray, rows: Rows, confirm: Confirm, *, threshold: float, size: int
) -> Iterator[NDArray[np.int64]]:
    """Yield for each of `rows` the confirmed pair with the earliest that it is near to, as arrays of (later, earlier).

    `rows` are in ascending order; `size` is the number of characters of a shingle.
    """
    dense, rare, counts = shared_columns(texts.take(pa.array(rows)), size=size)
    later_rare = rare.T.tocsc()
    with progress("texts of one template", total=len(rows)) as bar:
        for start in range(0, len(rows), BLOCK_ROWS):
            stop = min(start + BLOCK_ROWS, len(rows))
            shared = dense[start:stop] @ dense[:stop].T  # (B, N)
            shared += (rare[start:stop] @ later_rare[:, :stop]).toarray()
            needed = (counts[start:stop, None] + counts[None, :stop]) * (threshold / (1 + threshold)) - 1e-3
            is_near = shared >= needed
            is_near &= np.arange(stop)[None, :] < np.arange(start, stop)[:, None]
            yield from confirmed(is_near, start, rows, confirm)
            bar.update(stop)


def confirmed(is_near: NDArray[np.bool_], start: int, rows: Rows, confirm: Confirm) -> Iterator[NDArray[np.int64]]:
    """Ask of each row of the block for the earliest that may be near to it, and where that is not, for the next."""
    open_rows = np.flatnonzero(is_near.any(axis=1))
    while len(open_rows):
        earliest = is_near[open_rows].argmax(axis=1)
        later, earlier = rows[start + open_rows], rows[earliest]
        is_pair = confirm(earlier, later)
        yield np.stack([later[is_pair], earlier[is_pair]], axis=1)
        is_near[open_rows, earliest] = False
        open_rows = open_rows[~is_pair]
        open_rows = open_rows[is_near[open_rows].any(axis=1)]


def shared_columns(
    texts: pa.LargeStringArray, *, size: int
) -> tuple[NDArray[np.float32], csr_array, NDArray[np.float32]]:
    """Return which of the most frequent shingles each text has, (N, D), which of the others, and how many it has of
    all, (N,). A shingle that one text alone has is left out."""
    keys = [np.empty(0, np.uint64)]
    first = 0
    for block in blocks(texts):
        keys.append(shingle_sets(block, size=size) + (np.uint64(first) << np.uint64(32)))
        first += len(block)
    found = np.concatenate(keys)
    row = (found >> np.uint64(32)).astype(np.int64)
    _, column, frequency = np.unique(found.astype(np.uint32), return_inverse=True, return_counts=True)
    place = np.full(len(frequency), -1)
    most = np.argsort(-frequency, kind="stable")[:NUM_DENSE]
    place[most] = np.arange(len(most))
    dense = np.zeros((len(texts), len(most)), np.float32)
    is_dense = place[column] >= 0
    dense[row[is_dense], place[column[is_dense]]] = 1
    is_rare = ~is_dense & (frequency[column] > 1)
    ones = np.ones(int(is_rare.sum()), np.float32)
    rare = csr_array((ones, (row[is_rare], column[is_rare])), shape=(len(texts), len(frequency)))
    return dense, rare, np.bincount(row, minlength=len(texts)).astype(np.float32)
