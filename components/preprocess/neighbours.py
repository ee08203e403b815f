"""Pairs of texts whose signatures agree, found by locality-sensitive hashing in bands.

The method is that of Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets", chapter 3: a signature is cut into
bands, and two texts are compared when one of their bands is equal. The pairs are then confirmed by comparing the texts
themselves, so the bands are chosen to find nearly every pair rather than to save comparisons (datasketch's own index
balances the two, and at a threshold of 0.8 misses more than half of the pairs that lie just above it).

Legend: N texts, P permutations, R rows of a band.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from components.plumbing.progress import progress
from components.preprocess.shingles import Signatures

Rows = NDArray[np.int64]
Confirm = Callable[[Rows, Rows], NDArray[np.bool_]]
"""A function that tells which of the pairs (earlier row, later row) count as near."""

CompareCrowd = Callable[[Rows, Confirm], Iterable[NDArray[np.int64]]]
"""A function that gives the confirmed pairs among rows in ascending order, as arrays of (later, earlier)."""

MAX_ROUNDS = 8
"""The number of rows of a bucket that are compared with all others of it before these count as a crowd."""
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
    signatures: Signatures, rows: Rows, *, threshold: float, confirm: Confirm, title: str, compare_crowd: CompareCrowd
) -> tuple[Rows, Rows]:
    """Return the confirmed pairs (earlier, later) among `rows` that share a band, each once, sorted by the later row.

    Within a band, a row that has found an earlier neighbour is compared no further: a thousand copies of one text give
    a thousand pairs, and not half a million. Rows that many rows of their band are like, but not near, are a crowd:
    `compare_crowd` compares all of them with each other.
    """
    found: list[NDArray[np.int64]] = []
    width = rows_of_band(threshold, num_permutations=signatures.shape[1])
    num_bands = signatures.shape[1] // width
    in_crowd = np.zeros(len(signatures), bool)
    with progress(title, total=num_bands) as bar:
        for band in range(num_bands):
            keys = band_keys(signatures, rows, columns=range(band * width, (band + 1) * width))
            found += pairs_of_band(keys, rows, confirm, in_crowd)
            bar.update(band + 1)
    crowd = rows[in_crowd[rows]]
    if len(crowd):
        found += compare_crowd(crowd, confirm)
    pairs = np.unique(np.concatenate([*found, np.empty((0, 2), np.int64)]), axis=0)
    return pairs[:, 1], pairs[:, 0]


def pairs_of_band(
    keys: NDArray[np.uint64], rows: Rows, confirm: Confirm, in_crowd: NDArray[np.bool_]
) -> Iterator[NDArray[np.int64]]:
    """Yield the confirmed pairs of a band, as arrays of (later, earlier).

    The first row of each bucket is compared with the others; those that are not its neighbours form the next bucket.
    After MAX_ROUNDS what is left of large buckets joins the crowd, in place; buckets of the crowd alone are left out.
    """
    order = np.argsort(keys, kind="stable")
    keys, rows = keys[order], rows[order]
    for number in itertools.count():
        is_first = np.concatenate([[True], keys[1:] != keys[:-1]])[: len(keys)]
        if is_first.all():
            return
        bucket = np.cumsum(is_first) - 1
        is_open = np.bincount(bucket, ~in_crowd[rows]) > 0
        if number == MAX_ROUNDS:
            is_large = np.bincount(bucket) > MAX_ROUNDS
            in_crowd[rows[(is_large & is_open)[bucket]]] = True
            is_open &= ~is_large
        if not is_open.all():
            keys, rows, is_first = keys[is_open[bucket]], rows[is_open[bucket]], is_first[is_open[bucket]]
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
