"""Interpolated modified Kneser-Ney n-grams (Chen & Goodman 1998, section 3), over bytes or tokens, in numpy.

Each document stands behind `order - 1` end symbols, so its first symbol has a whole context, too. The symbols of the
training and the judged documents are one stream: the n-grams that end at each place are numbered together, a longer one
from its first symbol and the number of the rest, so that a judged n-gram finds its counts by its number.

The counts of the longest n-grams are how often they come; those of shorter ones how many symbols stand before them.

Legend: P places of the stream, G different n-grams of one length, H different contexts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.plumbing.progress import progress

Symbols = NDArray[np.int32]
Counts = NDArray[np.int64]

FALLBACK = (0.5, 1.0, 1.5)
"""The discounts where too few n-grams come once to four times to estimate them, as in KenLM (Heafield et al. 2013)."""


@dataclass(frozen=True)
class Grams:
    """The different n-grams of one length, by their number."""

    number: NDArray[np.int32]
    """The number of the n-gram that ends at each place, (P,)."""
    place: NDArray[np.int64]
    """One place where each n-gram ends, (G,)."""


def log2_probabilities(
    documents: Sequence[Symbols], *, train: Sequence[Symbols], order: int, num_symbols: int, end: int
) -> list[NDArray[np.float64]]:
    """Return the log2-probability of each symbol of each of `documents`, under a model of the documents `train`.

    Every document ends with the symbol `end`. Symbols lie in 0 … num_symbols - 1.
    """
    stream, is_real = joined([*train, *documents], order=order, end=end)
    start = sum(len(document) + order - 1 for document in train)
    judged = np.flatnonzero(is_real[start:]) + start
    with progress("n-grams", total=2 * order) as bar:
        grams = [Grams(stream, np.zeros(0, np.int64))]
        for length in range(1, order + 1):
            grams.append(numbered(stream, grams[-1].number, length=length, num_symbols=num_symbols))
            bar.update(length)
        found = np.full(len(judged), 1 / num_symbols)  # of length 0: all symbols are alike
        counts = counted(grams, places=np.flatnonzero(is_real[:start]))
        for length in range(1, order + 1):
            found = interpolated(found, counts[length], grams[length], grams[length - 1], judged, length=length)
            bar.update(order + length)
    ends = np.cumsum([len(document) for document in documents])
    return np.split(np.log2(found), ends[:-1])


def joined(documents: Sequence[Symbols], *, order: int, end: int) -> tuple[Symbols, NDArray[np.bool_]]:
    """Return the stream of all documents, (P,), and which of its places hold their symbols, (P,).

    The other places hold the end symbols that stand before each document.
    """
    num_places = sum(len(document) + order - 1 for document in documents)
    stream, is_real = np.full(num_places, end, np.int32), np.zeros(num_places, np.bool_)
    place = 0
    for document in documents:
        place += order - 1
        stream[place : place + len(document)] = document
        is_real[place : place + len(document)] = True
        place += len(document)
    return stream, is_real


def numbered(stream: Symbols, rest: NDArray[np.int32], *, length: int, num_symbols: int) -> Grams:
    """Number the n-grams of a length by their first symbol, and by the number that `rest` gives to their other symbols.

    The stream counts as a ring. N-grams that go over the edge of a document end before it begins, and are never
    counted.
    """
    if length == 1:
        keys = stream.astype(np.int64)
    else:
        keys = np.roll(stream, length - 1).astype(np.int64) * (int(rest.max()) + 1)
        keys += rest
    order = np.argsort(keys)
    keys = keys[order]
    is_first = np.empty(len(keys), np.bool_)
    is_first[0] = True
    np.not_equal(keys[1:], keys[:-1], out=is_first[1:])
    number = np.empty(len(keys), np.int32)
    number[order] = np.cumsum(is_first, dtype=np.int32) - 1
    return Grams(number, order[is_first])


def counted(grams: Sequence[Grams], *, places: Counts) -> list[Counts]:
    """Return the counts of the n-grams of each length, (G,), at the training documents' places; none for length 0."""
    longest = len(grams) - 1
    counts = [np.zeros(0, np.int64)] * len(grams)
    counts[longest] = np.bincount(grams[longest].number[places], minlength=len(grams[longest].place))
    for length in range(longest - 1, 0, -1):
        longer = grams[length + 1].place[counts[length + 1] > 0]
        counts[length] = np.bincount(grams[length].number[longer], minlength=len(grams[length].place))
    return counts


def interpolated(
    shorter: NDArray[np.float64], counts: Counts, grams: Grams, contexts: Grams, judged: Counts, *, length: int
) -> NDArray[np.float64]:
    """Return the probability of the symbol at each judged place, from `shorter`, that of n-grams one symbol shorter.

    A context that was never seen leaves the probability to the shorter n-grams.
    """
    discount = discounts(counts)
    if length == 1:
        context_of, context = np.zeros(len(counts), np.int64), np.zeros(len(judged), np.int64)
        num_contexts = 1
    else:
        context_of, context = contexts.number[grams.place - 1], contexts.number[judged - 1]
        num_contexts = len(contexts.place)
    taken = discount[np.minimum(counts, len(discount) - 1)]  # (G,)
    total = np.bincount(context_of, weights=counts, minlength=num_contexts)  # (H,)
    left = np.bincount(context_of, weights=taken, minlength=num_contexts)  # (H,)
    number = grams.number[judged]
    kept = counts[number] - taken[number]
    whole = total[context]
    return np.where(whole > 0, (kept + left[context] * shorter) / np.maximum(whole, 1), shorter)


def discounts(counts: Counts) -> NDArray[np.float64]:
    """Return the discounts of a count of 0, 1, 2, and 3 or more, (4,)."""
    n1, n2, n3, n4 = (int((counts == times).sum()) for times in range(1, 5))
    if not (n1 and n2 and n3 and n4):
        return np.array([0.0, *FALLBACK])
    share = n1 / (n1 + 2 * n2)
    found = np.array([0.0, 1 - 2 * share * n2 / n1, 2 - 3 * share * n3 / n2, 3 - 4 * share * n4 / n3])
    is_usable = bool((found[1:] > 0).all() and (found <= np.arange(4)).all())
    return found if is_usable else np.array([0.0, *FALLBACK])
