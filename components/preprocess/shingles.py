"""The sets of shingles of texts, and their MinHash signatures, for many texts at a time.

A text is represented by the set of its runs of a few characters, after case folding (Broder 1997, "On the resemblance
and containment of documents"). The texts that come here are already cut (`serving.text.cut`), which bounds the sets.
The permutations are those of datasketch; everything is whole-number arithmetic, so each machine gives the same
signatures.

Legend: N texts, S shingles of all texts, P permutations.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from datasketch import MinHash
from numpy.typing import NDArray

from components.params import NearDuplicates

Signatures = NDArray[np.uint32]
Shares = NDArray[np.float64]

MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
BLOCK_CHARACTERS = 65_536  # so that the work on one permutation stays in the processor's cache


def blocks(texts: pa.LargeStringArray) -> Iterator[list[str]]:
    """Yield the texts in order, in lists of at most BLOCK_CHARACTERS bytes (or of one longer text)."""
    ends = np.frombuffer(texts.buffers()[1], np.int64)[texts.offset : texts.offset + len(texts) + 1]
    start = 0
    while start < len(texts):
        stop = max(int(np.searchsorted(ends, ends[start] + BLOCK_CHARACTERS, side="right")) - 1, start + 1)
        yield texts[start:stop].to_pylist()
        start = stop


def shingles(texts: Sequence[str], *, size: int) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Return the hashes of the texts' shingles, one text after the other (S,), and the number of each text's (N,).

    A shingle that occurs twice is counted twice. A text shorter than a shingle is one shingle.
    """
    folded = [text.casefold().ljust(size, "\0") for text in texts]
    codes = np.frombuffer("".join(folded).encode("utf-32-le"), np.uint32)
    lengths = np.fromiter(map(len, folded), np.int64, len(folded))  # (N,)
    hashes = np.zeros(len(codes) - size + 1, np.uint64)
    for position in range(size):
        hashes = hashes * MULTIPLIER + codes[position : position + len(hashes)] + np.uint64(1)
    is_within = np.ones(len(codes), bool)
    for back in range(1, size):
        is_within[np.cumsum(lengths) - back] = False
    mixed = (hashes ^ (hashes >> np.uint64(32))) * MULTIPLIER
    return (mixed >> np.uint64(32)).astype(np.uint32)[is_within[: len(hashes)]], lengths - size + 1


def signatures(texts: pa.LargeStringArray, params: NearDuplicates, *, seed: int) -> Signatures:
    """Return the MinHash signature of each text, (N, P): for each permutation, the least hash of the text's
    shingles."""
    permutations = np.asarray(MinHash(num_perm=params.num_permutations, seed=seed, scheme="affine32").permutations)
    found = np.empty((len(texts), params.num_permutations), np.uint32)
    row = 0
    for block in blocks(texts):
        hashes, counts = shingles(block, size=params.shingle_size)
        starts = np.cumsum(counts) - counts
        permuted = np.empty_like(hashes)
        for index, (multiplier, increment) in enumerate(permutations.T):
            np.multiply(hashes, multiplier, out=permuted)
            np.add(permuted, increment, out=permuted)
            found[row : row + len(block), index] = np.minimum.reduceat(permuted, starts)
        row += len(block)
    return found


def jaccard(left: Sequence[str], right: Sequence[str], *, size: int) -> Shares:
    """Return the Jaccard similarity of the shingle sets of each pair of texts, (N,)."""
    one, other = (shingle_sets(texts, size=size) for texts in (left, right))
    both = np.intersect1d(one, other, assume_unique=True)
    num_left, num_right, num_both = (
        np.bincount((keys >> np.uint64(32)).astype(np.int64), minlength=len(left)) for keys in (one, other, both)
    )
    return num_both / (num_left + num_right - num_both)


def shingle_sets(texts: Sequence[str], *, size: int) -> NDArray[np.uint64]:
    """Return every text's set of shingles as sorted keys, which combine the text's number and a hash."""
    hashes, counts = shingles(texts, size=size)
    keys = np.sort(np.repeat(np.arange(len(texts), dtype=np.uint64) << np.uint64(32), counts) | hashes)
    return keys[np.concatenate([[True], keys[1:] != keys[:-1]])]  # np.unique's hash table takes ten times as long here
