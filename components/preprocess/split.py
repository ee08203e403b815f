"""The assignment of rows to splits, class by class, by the digest of a row's text (or group) and the seed.

A digest, unlike a random generator, gives each machine and each version of a library the same split, and keeps a row in
its split when other rows come or go.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from components.params import Split
from components.plumbing.errors import InputError, examples

NAMES = ("train", "validation", "test")
TRAIN, VALIDATION, TEST = range(3)


def divided(
    rows: pa.Table, keys: Callable[[], Sequence[str]], params: Split, *, labels: Sequence[str]
) -> dict[str, pa.Table]:
    """Divide the rows into splits, in the order in which they came: as their column `split` says, where they have one;
    and what is to be drawn by group where they have one, else by `keys`.

    Without a column `label_id`, all rows belong to one class.
    """
    ids = np.zeros(len(rows), np.int64)
    if "label_id" in rows.column_names:
        ids = rows["label_id"].to_numpy().astype(np.int64)
    split = np.full(len(rows), TRAIN, np.int8)
    if "split" in rows.column_names:
        split = np.array([NAMES.index(name) for name in rows["split"].to_pylist()], np.int8)
        check_learned(split, ids, labels)
    if any(params.shares):
        drawn = (split == TRAIN).nonzero()[0]
        if params.group is None:
            texts = pa.array(keys(), pa.large_string()).take(pa.array(drawn)).to_pylist()
            split[drawn] = stratified(texts, ids[drawn], params, labels=labels)
        else:
            groups = rows["group"].take(pa.array(drawn)).to_pylist()
            split[drawn] = grouped(groups, ids[drawn], params, labels=labels)
    rows = rows.drop_columns([name for name in ("group", "split") if name in rows.column_names])
    return {name: rows.filter(pa.array(split == number)) for number, name in enumerate(NAMES)}


def check_learned(split: NDArray[np.int8], label_ids: NDArray[np.int64], labels: Sequence[str]) -> None:
    """Raise InputError where a class has no row for training in the splits that the rows say."""
    counts = np.bincount(label_ids[split == TRAIN], minlength=len(labels))
    lost = [label for label, count in zip(labels, counts, strict=True) if not count]
    if lost:
        raise InputError(
            f"the given training split has no row of {examples(lost)} after cleaning, so it cannot be learned: add "
            "rows, or join or drop the class in ingest.query"
        )


def stratified(
    texts: Sequence[str], label_ids: NDArray[np.int64], params: Split, *, labels: Sequence[str]
) -> NDArray[np.int8]:
    """Return the split of each row, (N,), with the shares of the splits equal in every class.

    Raises InputError where a class has too few rows to be in every split.
    """
    counts = np.bincount(label_ids, minlength=len(labels))
    needed = fewest_rows(params)
    few = [f"'{label}' has {count}" for label, count in zip(labels, counts, strict=True) if count < needed]
    if few:
        raise InputError(
            f"too small to stratify: after cleaning, {', '.join(few[:5])} rows{' and more classes' * (len(few) > 5)}; "
            f"each class needs {needed} to be in every split ({shown_shares(params)}): "
            "add rows, raise the shares, or join or drop the class in ingest.query"
        )
    split = np.full(len(label_ids), TRAIN, np.int8)
    order = np.lexsort((digests(texts, seed=params.seed), label_ids))
    for start, count in zip((np.cumsum(counts) - counts).tolist(), counts.tolist(), strict=True):
        _, num_validation, num_test = sizes(count, params)
        split[order[start : start + num_validation]] = VALIDATION
        split[order[start + num_validation : start + num_validation + num_test]] = TEST
    return split


def sizes(num_rows: int, params: Split) -> tuple[int, int, int]:
    """Return the numbers of rows of a class in train, validation and test."""
    num_validation, num_test = (int(num_rows * share + 0.5) for share in params.shares)
    return num_rows - num_validation - num_test, num_validation, num_test


def fewest_rows(params: Split) -> int:
    """Return the least number of rows with which a class is in every split that is drawn, and in training."""
    num_rows = 2
    while any(size < 1 and share for size, share in zip(sizes(num_rows, params), (1, *params.shares), strict=True)):
        num_rows += 1
    return num_rows


def shown_shares(params: Split) -> str:
    """Return in words which share of the rows each split gets."""
    if params.column is not None:
        return f"validation {params.validation} of the rows for training"
    return f"validation {params.validation}, test {params.test}"


def grouped(
    groups: Sequence[str], label_ids: NDArray[np.int64], params: Split, *, labels: Sequence[str]
) -> NDArray[np.int8]:
    """Return the split of each row, (N,), with no group in two splits, and each class as near to its shares as
    possible.

    The groups are placed from the largest to the smallest, each where it brings the classes nearest to their shares
    (least chi-square). Raises InputError where a class is missing from a split.
    """
    names, codes = np.unique(np.asarray(groups, dtype=object), return_inverse=True)
    counts = np.zeros((len(names), len(labels)))  # (groups, classes)
    np.add.at(counts, (codes, label_ids), 1)
    validation, test = params.shares
    shares = np.array([1 - validation - test, validation, test][: 3 if test else 2])
    wanted = np.maximum(shares[:, None] * counts.sum(axis=0), 1e-9)  # (splits, classes)
    there = np.zeros_like(wanted)
    num_groups = np.zeros(len(shares), int)
    split = np.empty(len(names), np.int8)
    order = np.lexsort((digests(names.tolist(), seed=params.seed), -counts.sum(axis=1)))
    for num_left, group in zip(range(len(order), 0, -1), order, strict=True):
        cost = (counts[group] * (counts[group] + 2 * (there - wanted)) / wanted).sum(axis=1)
        if num_left <= (num_groups == 0).sum():
            cost[num_groups > 0] = np.inf
        chosen = int(cost.argmin())
        split[group] = chosen
        there[chosen] += counts[group]
        num_groups[chosen] += 1
    check_classes(there, counts, params, labels)
    return split[codes]


def check_classes(
    there: NDArray[np.float64], counts: NDArray[np.float64], params: Split, labels: Sequence[str]
) -> None:
    """Raise InputError where a class is missing from a split."""
    for name, of_split in zip(NAMES, there, strict=False):  # test may not be drawn
        for label in (of_split == 0).nonzero()[0]:
            raise InputError(
                f"too small to split by '{params.group}': '{labels[label]}' is missing from {name}; its "
                f"{int(counts[:, label].sum())} rows lie in {int((counts[:, label] > 0).sum())} groups, and at least "
                f"{len(there)} of like size are needed: add rows, or set split.group to null"
            )


def digests(texts: Iterable[str], *, seed: int) -> NDArray[np.uint64]:
    """Return a pseudo-random number for each text, which `seed` changes, (N,)."""
    key = str(seed).encode()
    joined = b"".join(hashlib.blake2b(text.encode(), key=key, digest_size=8).digest() for text in texts)
    return np.frombuffer(joined, "<u8")


def leak_of_random_split(texts: NDArray[np.int64], params: Split) -> float:
    """Return how much a plain random split into the same shares would leak, as a share of its test rows.

    A test row leaks where its text is in the training split too. `texts` gives the number of each row's text, (N,).
    """
    num_rows = len(texts)
    _, num_validation, num_test = sizes(num_rows, params)
    order = np.argsort(digests(map(str, range(num_rows)), seed=params.seed), kind="stable")
    test, train = order[:num_test], order[num_test + num_validation :]
    return float(np.isin(texts[test], texts[train]).mean()) if num_test else 0.0
