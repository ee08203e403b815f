"""Pairs of texts whose signatures agree, found by locality-sensitive hashing in bands.

The method is that of Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets", chapter 3: a signature is cut into
bands, and two texts are compared when one of their bands is equal. The pairs are then confirmed by comparing the texts
themselves, so the bands are chosen to find nearly every pair rather than to save comparisons (datasketch's own index
balances the two, and at a threshold of 0.8 misses more than half of the pairs that lie just above it).

Legend: N texts, P permutations, R rows of a band.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from components.plumbing.progress import progress
from components.preprocess.shingles import Signatures

Rows = NDArray[np.int64]
Confirm = Callable[[Rows, Rows], NDArray[np.bool_]]
"""A function that tells which of the pairs (earlier row, later row) count as near."""

MAX_MISS = 1e-6
"""The chance that a pair exactly at the threshold shares no band."""
NUM_DEVIATIONS = 5
"""The number of standard deviations that an estimate may lie below the threshold before its pair is skipped."""


def rows_of_band(threshold: float, *, num_permutations: int) -> int:
    """Return the greatest width of a band at which a pair at the threshold is missed with a chance of MAX_MISS or less;
    1 if there is none."""
    fitting = [
        rows
        for rows in range(1, num_permutations + 1)
        if (1 - threshold**rows) ** (num_permutations // rows) <= MAX_MISS
    ]
    return max(fitting, default=1)


def band_keys(signatures: Signatures, rows: Rows, *, columns: range) -> NDArray[np.uint64]:
    """Return a key for each of `rows`, equal where the band (`columns`) is equal."""
    keys = np.zeros(len(rows), np.uint64)
    for column in columns:
        keys = (keys ^ (keys >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9) + signatures[rows, column]
    return keys


def neighbours(
    signatures: Signatures, rows: Rows, *, threshold: float, confirm: Confirm, title: str
) -> tuple[Rows, Rows]:
    """Return the confirmed pairs (earlier, later) among `rows` that share a band, each once, sorted by the later row.

    Within a band, a row that has found an earlier neighbour is compared no further: a thousand copies of one text give
    a thousand pairs, and not half a million.
    """
    found: list[NDArray[np.int64]] = []
    width = rows_of_band(threshold, num_permutations=signatures.shape[1])
    num_bands = signatures.shape[1] // width
    with progress(title, total=num_bands) as bar:
        for band in range(num_bands):
            keys = band_keys(signatures, rows, columns=range(band * width, (band + 1) * width))
            found += pairs_of_band(keys, rows, confirm)
            bar.update(band + 1)
    pairs = np.unique(np.concatenate([*found, np.empty((0, 2), np.int64)]), axis=0)
    return pairs[:, 1], pairs[:, 0]


def pairs_of_band(keys: NDArray[np.uint64], rows: Rows, confirm: Confirm) -> Iterator[NDArray[np.int64]]:
    """Yield the confirmed pairs of a band, as arrays of (later, earlier).

    The first row of each bucket is compared with the others; those that are not its neighbours form the next bucket.
    """
    order = np.argsort(keys, kind="stable")
    keys, rows = keys[order], rows[order]
    while True:
        is_first = np.concatenate([[True], keys[1:] != keys[:-1]])[: len(keys)]
        if is_first.all():
            return
        heads = rows[np.maximum.accumulate(np.where(is_first, np.arange(len(rows)), 0))]
        heads, rows, keys = heads[~is_first], rows[~is_first], keys[~is_first]
        is_near = confirm(heads, rows)
        yield np.stack([rows[is_near], heads[is_near]], axis=1)
        rows, keys = rows[~is_near], keys[~is_near]


def likely(signatures: Signatures, earlier: Rows, later: Rows, *, threshold: float) -> NDArray[np.bool_]:
    """Return whether each pair may be at the threshold, judged by the share of equal places in the signatures."""
    num_permutations = signatures.shape[1]
    least = threshold - NUM_DEVIATIONS * (threshold * (1 - threshold) / num_permutations) ** 0.5
    shares = np.empty(len(earlier))
    for start in range(0, len(earlier), 16_384):
        chunk = slice(start, start + 16_384)
        shares[chunk] = (signatures[earlier[chunk]] == signatures[later[chunk]]).mean(axis=1)
    return shares >= least
