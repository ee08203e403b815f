"""Rows with equal or nearly equal texts: which count as one, and the fate of those that carry several labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from components.params import NearDuplicates
from components.preprocess.crowds import crowd_of
from components.preprocess.neighbours import Rows, likely, neighbours
from components.preprocess.shingles import jaccard, signatures

SEED = 1
PAIRS_A_CALL = 4_096

KEPT, CONFLICTING, OUTVOTED, DUPLICATE, NEAR_DUPLICATE, LEAKING = range(6)
FATES = ("kept", "conflicting", "outvoted", "duplicate", "near-duplicate", "leaking")


@dataclass(frozen=True)
class Verdicts:
    """The fate of each of the N rows."""

    fate: NDArray[np.int8]
    """The index in FATES, (N,)."""
    first: NDArray[np.int64]
    """The first row that the row counts as one with, (N,)."""
    label: NDArray[np.int64]
    """The label of a kept row, which is the label of most of the rows that it stands for, (N,)."""
    num_conflicting_texts: int
    """The number of texts, each with its near-duplicates, that carry more than one label."""


def judge(
    texts: pa.LargeStringArray, labels: NDArray[np.int64], params: NearDuplicates, *, num_labels: int, conflicts: str
) -> Verdicts:
    """Keep the first row of those with equal or nearly equal texts, unless their labels forbid it.

    `conflicts` is `remove` (a text with two labels loses all its rows) or `majority` (the label of most of its rows
    stands; with a tie, all its rows go).
    """
    encoded = texts.dictionary_encode()
    codes = np.asarray(encoded.indices, np.int64)  # of equal texts the same, numbered as they come
    return settle(codes, leaders(encoded.dictionary, params), labels, num_labels=num_labels, conflicts=conflicts)


def settle(
    codes: NDArray[np.int64], leader: Rows, labels: NDArray[np.int64], *, num_labels: int, conflicts: str
) -> Verdicts:
    """Return the verdict on rows whose content is given by `codes` (N,); `leader` gives the code that each code counts
    as."""
    num_codes, num_rows = len(leader), len(codes)
    leader = leader[codes]  # of each row
    votes = np.bincount(leader * num_labels + labels, minlength=num_codes * num_labels).reshape(num_codes, num_labels)
    most = votes.max(axis=1)
    is_conflict = (votes > 0).sum(axis=1) > 1
    if conflicts == "remove":
        is_lost = is_conflict
    else:
        is_lost = (votes == most[:, None]).sum(axis=1) > 1
        is_lost[most == 0] = False
    winner = votes.argmax(axis=1)

    first_of_code = np.full(num_codes, num_rows, np.int64)
    np.minimum.at(first_of_code, codes, np.arange(num_rows))
    first = first_of_code[leader]
    fate = np.where(codes == codes[first], DUPLICATE, NEAR_DUPLICATE).astype(np.int8)
    fate[labels != winner[leader]] = OUTVOTED
    fate[first == np.arange(num_rows)] = KEPT
    fate[is_lost[leader]] = CONFLICTING
    return Verdicts(fate, first, winner[leader], int(is_conflict.sum()))


def leaders(texts: pa.LargeStringArray, params: NearDuplicates) -> Rows:
    """Return, for each of different texts, the first that it is a near-duplicate of, or itself.

    A text that has a leader leads no other, so no two leaders are near-duplicates of each other.
    """
    signed = signatures(texts, params, seed=SEED)

    last_found = np.full(len(texts), -1)  # the neighbour that a row was last found to have, seldom another in each band

    def confirm(earlier: Rows, later: Rows) -> NDArray[np.bool_]:
        is_near = last_found[later] == earlier
        open_pairs = (~is_near).nonzero()[0]
        is_likely = likely(signed, earlier[open_pairs], later[open_pairs], threshold=params.threshold)
        open_pairs = open_pairs[is_likely]
        shares = similarity(texts, earlier[open_pairs], later[open_pairs], params)
        is_near[open_pairs] = shares >= params.threshold
        last_found[later[is_near]] = earlier[is_near]
        return is_near

    leader = np.arange(len(texts))
    is_settled = False
    while not is_settled:
        rows = (leader == np.arange(len(texts))).nonzero()[0]
        pairs = neighbours(
            signed, rows, threshold=params.threshold, confirm=confirm, title="near-duplicates",
            compare_crowd=crowd_of(texts, params),
        )  # fmt: skip
        is_settled = follow(leader, *pairs)
    while (leader != leader[leader]).any():
        leader = leader[leader]
    return leader


def follow(leader: Rows, earlier: Rows, later: Rows) -> bool:
    """Let each row follow its first neighbour that is a leader, in place.

    Returns False where a row may have neighbours that are not known yet, because it was compared no further once it
    found a neighbour that then turned out to lead nothing.
    """
    unsettled: list[int] = []
    for one, other in zip(earlier.tolist(), later.tolist(), strict=True):
        if leader[one] != one:
            unsettled.append(other)
        elif leader[other] == other:
            leader[other] = one
    return all(leader[row] != row for row in unsettled)


def similarity(texts: pa.LargeStringArray, left: Rows, right: Rows, params: NearDuplicates) -> NDArray[np.float64]:
    """Return the Jaccard similarity of pairs of rows, computed a few thousand pairs at a time."""
    shares = np.empty(len(left))
    for start in range(0, len(left), PAIRS_A_CALL):
        chunk = slice(start, start + PAIRS_A_CALL)
        pair = [texts.take(pa.array(rows[chunk])).to_pylist() for rows in (left, right)]
        shares[chunk] = jaccard(pair[0], pair[1], size=params.shingle_size)
    return shares


def write_removed(path: Path, rows: pa.Table, verdicts: Verdicts, *, columns: Sequence[str]) -> None:
    """Write the removed rows to a Parquet file for a person to look at, each with its reason and the row that it
    repeats."""
    is_removed = verdicts.fate != KEPT
    reasons = pa.array(FATES).take(pa.array(verdicts.fate[is_removed]))
    removed = rows.filter(pa.array(is_removed)).select(["row", *columns])
    first = rows["row"].take(pa.array(verdicts.first[is_removed]))
    pq.write_table(removed.append_column("reason", reasons).append_column("same_as_row", first), path)
