from collections import Counter, defaultdict

import numpy as np
import pytest

from components.tasks.text_generation.evaluate.kneser_ney import Symbols, discounts, log2_probabilities

END = 0


def document(*symbols: int) -> Symbols:
    return np.array([*symbols, END], np.int32)


def random_documents(num: int, *, num_symbols: int, seed: int) -> list[Symbols]:
    """Documents whose symbols depend on the one before."""
    random = np.random.default_rng(seed)
    likely = random.dirichlet(np.full(num_symbols - 1, 0.3), size=num_symbols)
    documents: list[Symbols] = []
    for _ in range(num):
        symbols = [0]
        for _ in range(int(random.integers(0, 60))):
            symbols.append(int(random.choice(num_symbols - 1, p=likely[symbols[-1]])) + 1)
        documents.append(document(*symbols[1:]))
    return documents


def by_dictionaries(train: list[Symbols], judged: Symbols, *, order: int, num_symbols: int) -> list[float]:
    """The formulas of Chen & Goodman, word for word and slowly."""
    counts: list[Counter[tuple[int, ...]]] = [Counter() for _ in range(order + 1)]
    for symbols in train:
        padded = [END] * (order - 1) + symbols.tolist()
        for place in range(order - 1, len(padded)):
            counts[order][tuple(padded[place - order + 1 : place + 1])] += 1
    for length in range(order - 1, 0, -1):
        before: dict[tuple[int, ...], set[int]] = defaultdict(set)
        for gram in counts[length + 1]:
            before[gram[1:]].add(gram[0])
        counts[length] = Counter({gram: len(seen) for gram, seen in before.items()})

    def probability(symbol: int, context: tuple[int, ...]) -> float:
        table = counts[len(context) + 1]
        shorter = probability(symbol, context[1:]) if context else 1 / num_symbols
        following = {gram: count for gram, count in table.items() if gram[:-1] == context}
        if not following:
            return shorter
        taken = discounts(np.array(list(table.values())))
        kept = table[(*context, symbol)] - taken[min(table[(*context, symbol)], 3)]
        left = sum(taken[min(count, 3)] for count in following.values())
        return (kept + left * shorter) / sum(following.values())

    padded = [END] * (order - 1) + judged.tolist()
    places = range(order - 1, len(padded))
    return [probability(padded[place], tuple(padded[place - order + 1 : place])) for place in places]


def test_a_case_computed_by_hand() -> None:
    # Bigrams: end-1, 1-2, 2-1, 1-end, once each. Continuation counts: 2 of symbol 1, 1 of symbol 2 and of the end.
    # Too few for estimates, so the discounts are 0.5, 1 and 1.5.
    (found,) = log2_probabilities([document(1, 2, 2)], train=[document(1, 2, 1)], order=2, num_symbols=3, end=END)
    alone = {1: 1 / 4 + 2 / 4 / 3, 2: 0.5 / 4 + 2 / 4 / 3, END: 0.5 / 4 + 2 / 4 / 3}
    expected = [0.5 + 0.5 * alone[1], (0.5 + 1 * alone[2]) / 2, 0.5 * alone[2], 0.5 * alone[END]]
    np.testing.assert_allclose(2**found, expected)


@pytest.mark.parametrize("order", [2, 3, 5])
def test_the_formulas_are_those_of_the_paper(order: int) -> None:
    train = random_documents(60, num_symbols=6, seed=1)
    judged = random_documents(5, num_symbols=6, seed=2)
    found = log2_probabilities(judged, train=train, order=order, num_symbols=6, end=END)
    assert [len(probabilities) for probabilities in found] == [len(symbols) for symbols in judged]
    for symbols, probabilities in zip(judged, found, strict=True):
        np.testing.assert_allclose(2**probabilities, by_dictionaries(train, symbols, order=order, num_symbols=6))


@pytest.mark.parametrize("order", [2, 4])
def test_the_probabilities_of_all_symbols_sum_to_one(order: int) -> None:
    num_symbols = 7
    train = random_documents(40, num_symbols=num_symbols, seed=3)
    for history in [(), (1,), (2, 3), (5, 5, 5, 5), (6, 1, 4)]:
        others = [document(*history, symbol) for symbol in range(1, num_symbols)]
        judged = [*others, document(*history)]
        found = log2_probabilities(judged, train=train, order=order, num_symbols=num_symbols, end=END)
        assert sum(2 ** probabilities[len(history)] for probabilities in found) == pytest.approx(1)


def test_discounts_are_estimated_from_how_many_ngrams_come_seldom() -> None:
    counts = np.repeat([1, 2, 3, 4, 9], [10, 5, 3, 2, 4])
    np.testing.assert_allclose(discounts(counts), [0, 0.5, 2 - 3 * 0.5 * 3 / 5, 3 - 4 * 0.5 * 2 / 3])
    np.testing.assert_array_equal(discounts(np.array([1, 1, 2, 7])), [0, 0.5, 1, 1.5])


def test_what_was_read_is_likelier() -> None:
    train = [document(1, 2, 3, 4, 5) for _ in range(9)] + random_documents(20, num_symbols=6, seed=4)
    known, unknown = log2_probabilities(
        [document(1, 2, 3, 4, 5), document(5, 4, 3, 2, 1)], train=train, order=3, num_symbols=6, end=END
    )
    assert known.sum() > unknown.sum() + 5


def test_judged_documents_do_not_change_each_other() -> None:
    train = random_documents(30, num_symbols=5, seed=5)
    one, other = random_documents(2, num_symbols=5, seed=6)
    together = log2_probabilities([one, other], train=train, order=3, num_symbols=5, end=END)
    alone = log2_probabilities([other], train=train, order=3, num_symbols=5, end=END)
    np.testing.assert_array_equal(together[1], alone[0])
