"""The leakage gate: no text of one split equals, or nearly equals, one of another.

It does not rely on the removal of duplicates before the split: it draws other permutations, looks only at pairs across
splits, and compares the shingles themselves instead of their hashes.
"""

import functools
from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from components.params import NearDuplicates
from components.plumbing.errors import LeakageError, examples
from components.preprocess.crowds import crowd_of
from components.preprocess.neighbours import Rows, likely, neighbours
from components.preprocess.shingles import signatures

SEED = 2


def check_leakage(splits: Mapping[str, pa.LargeStringArray], params: NearDuplicates) -> None:
    """Raise LeakageError, with examples, where a text of one split occurs again, or nearly, in another."""
    equal = [
        (text, one, text, other)
        for one, other in combinations(splits, 2)
        for text in sorted(set(splits[one].to_pylist()) & set(splits[other].to_pylist()))
    ]
    near = [] if equal else nearly_equal(splits, params)
    leaks = equal or near
    if not leaks:
        return
    shown = examples(
        (f"{text[:60]} ({one}) ~ {other_text[:60]} ({other})" for text, one, other_text, other in leaks), width=160
    )
    raise LeakageError(
        f"{len(leaks)} texts of one split come again in another: {shown}; lower near_duplicates.threshold or raise "
        "near_duplicates.num_permutations, so that they are removed before the split",
        report={"num_leaks": len(leaks), "num_equal": len(equal), "examples": shown},
    )


def nearly_equal(splits: Mapping[str, pa.LargeStringArray], params: NearDuplicates) -> list[tuple[str, str, str, str]]:
    """Return the near-duplicate pairs across splits, each as (text, its split, the other text, its split)."""
    names = list(splits)
    texts = pa.concat_arrays(list(splits.values()))
    split = np.repeat(np.arange(len(names)), [len(splits[name]) for name in names])
    signed = signatures(texts, params, seed=SEED)

    @functools.lru_cache(maxsize=1024)
    def shingles_of(row: int) -> set[str]:
        return shingle_set(texts[row].as_py(), params.shingle_size)

    def confirm(earlier: Rows, later: Rows) -> NDArray[np.bool_]:
        is_near = split[earlier] != split[later]
        across = is_near.nonzero()[0]
        is_near[across] = likely(signed, earlier[across], later[across], threshold=params.threshold)
        for pair in is_near.nonzero()[0]:
            left, right = (shingles_of(int(rows[pair])) for rows in (earlier, later))
            is_near[pair] = len(left & right) >= params.threshold * len(left | right)
        return is_near

    earlier, later = neighbours(
        signed, np.arange(len(texts)), threshold=params.threshold, confirm=confirm, title="leakage gate",
        compare_crowd=crowd_of(texts, params),
    )  # fmt: skip
    return [
        (texts[one].as_py(), names[split[one]], texts[other].as_py(), names[split[other]])
        for one, other in zip(earlier.tolist(), later.tolist(), strict=True)
    ]


def shingle_set(text: str, size: int) -> set[str]:
    folded = text.casefold()
    return {folded[start : start + size] for start in range(max(len(folded) - size + 1, 1))}
