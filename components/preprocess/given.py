"""Splits that the rows themselves say: their numbers, their faults, and the rows of one that another holds too.

The rows that are held out stay as they are, repeated or contradicting ones too, so that figures can be compared with
those of others on the same split. What repeats a row of the test split is left out of training and validation, and what
repeats one of the validation split is left out of training.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from components.params import NearDuplicates, Split
from components.plumbing.errors import InputError, LeakageError, examples
from components.preprocess.crowds import crowd_of
from components.preprocess.duplicates import KEPT, LEAKING, Verdicts, similarity
from components.preprocess.neighbours import Rows, likely, neighbours
from components.preprocess.shingles import signatures
from components.preprocess.split import NAMES, TEST, TRAIN, VALIDATION

pc: Any = pyarrow.compute  # makes its functions when it is imported, where no type checker sees them

SEED = 3
Repeats = Callable[[Rows, Rows], Rows]
"""A function of the numbers of held-out rows and of others: for each other, the held-out row that it repeats, or -1."""


def given_splits(rows: pa.Table, params: Split) -> NDArray[np.int8]:
    """Return the number of the split that each row says, (N,).

    Raises InputError where a row says none, no row is for training or for the test, or the validation split is both
    given and drawn, or neither; LeakageError where a group is in two splits.
    """
    said = rows["split"].combine_chunks()
    numbers = pc.index_in(said, pa.array(NAMES, pa.large_string()))
    if numbers.null_count:
        foreign = pc.unique(said.filter(pc.is_null(numbers))).to_pylist()
        shown = examples("null" if value is None else value for value in foreign)
        raise InputError(
            f"split.column '{params.column}' is {shown} in {numbers.null_count} rows; it may be {', '.join(NAMES)}: "
            f"say so in ingest.query, as in CASE {params.column} WHEN 'dev' THEN 'validation' ELSE {params.column} END"
        )
    split = numbers.to_numpy(zero_copy_only=False).astype(np.int8)
    for number in (TRAIN, TEST):
        if not (split == number).any():
            raise InputError(
                f"split.column '{params.column}' is '{NAMES[number]}' in no row with a label; some must be"
            )
    is_given = bool((split == VALIDATION).any())
    if is_given and params.validation is not None:
        raise InputError(
            f"split.validation is {params.validation}, but split.column '{params.column}' says 'validation' in "
            f"{(split == VALIDATION).sum()} rows; set split.validation to null"
        )
    if not is_given and params.validation is None:
        raise InputError(
            f"split.column '{params.column}' says 'validation' in no row; give split.validation the share of the "
            "training rows to use for it, such as 0.1"
        )
    if "group" in rows.column_names:
        check_groups_apart(rows["group"].combine_chunks(), split, params)
    return split


def check_groups_apart(groups: pa.LargeStringArray, split: NDArray[np.int8], params: Split) -> None:
    """Raise LeakageError where a group is in two of the given splits."""
    encoded = groups.dictionary_encode()
    codes = np.asarray(encoded.indices, np.int64)
    is_there = np.zeros((len(encoded.dictionary), len(NAMES)), bool)
    is_there[codes, split] = True
    torn = encoded.dictionary.filter(pa.array(is_there.sum(axis=1) > 1)).to_pylist()
    if torn:
        raise LeakageError(
            f"{len(torn)} groups of split.group '{params.group}' are in two of the splits that '{params.column}' says: "
            f"{examples(torn)}; set split.group to null if that is meant",
            report={"num_leaks": len(torn), "examples": examples(torn)},
        )


def judge_given(
    split: NDArray[np.int8], labels: NDArray[np.int64], *, repeats: Repeats, judge: Callable[[Rows], Verdicts]
) -> Verdicts:
    """Return the verdict on rows whose split is given, (N,): those held out are kept, those that repeat them are
    leaking, and `judge(rows)` decides on the other rows for training."""
    fate = np.full(len(split), KEPT, np.int8)
    first, label = np.arange(len(split)), labels.copy()
    test, validation, train = ((split == number).nonzero()[0] for number in (TEST, VALIDATION, TRAIN))
    for held, others in ((test, validation), (test, train), (validation, train)):
        others = others[fate[others] == KEPT]
        repeated = repeats(held, others) if len(held) and len(others) else np.full(len(others), -1)
        is_leaking = repeated >= 0
        fate[others[is_leaking]] = LEAKING
        first[others[is_leaking]] = repeated[is_leaking]
    open_rows = train[fate[train] == KEPT]
    verdicts = judge(open_rows)
    fate[open_rows] = verdicts.fate
    first[open_rows] = open_rows[verdicts.first]
    label[open_rows] = verdicts.label
    return Verdicts(fate, first, label, verdicts.num_conflicting_texts)


def leak_of_given_split(split: NDArray[np.int8], verdicts: Verdicts, *, repeats: Repeats) -> float:
    """Return the share of the test rows whose content was in the given training split too, as it came."""
    train, test = (split == TRAIN).nonzero()[0], (split == TEST).nonzero()[0]
    if not (verdicts.fate[train] == LEAKING).any():
        return 0.0
    return float((repeats(train, test) >= 0).mean())


def text_repeats(texts: pa.LargeStringArray, params: NearDuplicates) -> Repeats:
    """Return the function that finds, for texts, the held-out one that each other equals, or nearly."""

    def repeats(held: Rows, others: Rows) -> Rows:
        encoded = texts.take(pa.array(np.concatenate([held, others]))).dictionary_encode()
        codes = np.asarray(encoded.indices, np.int64)  # those of held-out texts come first
        num_held = int(codes[: len(held)].max()) + 1
        nearest = np.full(len(encoded.dictionary), -1)
        nearest[:num_held] = np.arange(num_held)
        earlier, later = near_pairs(encoded.dictionary, params, num_held=num_held)
        nearest[later] = earlier
        row_of = np.zeros(num_held, np.int64)
        row_of[codes[: len(held)][::-1]] = held[::-1]  # the first row with each text
        found = nearest[codes[len(held) :]]
        return np.where(found < 0, -1, row_of[np.maximum(found, 0)])

    return repeats


def near_pairs(texts: pa.LargeStringArray, params: NearDuplicates, *, num_held: int) -> tuple[Rows, Rows]:
    """Return pairs of nearly equal texts, each of one among the first `num_held` and one of the others."""
    signed = signatures(texts, params, seed=SEED)

    def confirm(earlier: Rows, later: Rows) -> NDArray[np.bool_]:
        is_near = earlier >= num_held  # two others: said to be near, so that they are compared no further
        across = ((earlier < num_held) & (later >= num_held)).nonzero()[0]
        across = across[likely(signed, earlier[across], later[across], threshold=params.threshold)]
        is_near[across] = similarity(texts, earlier[across], later[across], params) >= params.threshold
        return is_near

    earlier, later = neighbours(
        signed, np.arange(len(texts)), threshold=params.threshold, confirm=confirm, title="given split",
        compare_crowd=crowd_of(texts, params),
    )  # fmt: skip
    is_across = earlier < num_held
    return earlier[is_across], later[is_across]


def equal_repeats(codes: NDArray[np.int64]) -> Repeats:
    """Return the function that finds, for rows whose content is given by `codes`, the held-out row with the same."""

    def repeats(held: Rows, others: Rows) -> Rows:
        known, place = np.unique(codes[held], return_index=True)
        at = np.minimum(np.searchsorted(known, codes[others]), len(known) - 1)
        return np.where(known[at] == codes[others], held[place[at]], -1)

    return repeats
