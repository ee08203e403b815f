import random
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest

from components.params import NearDuplicates
from components.preprocess.duplicates import FATES, Verdicts, follow, judge, leaders
from components.preprocess.neighbours import MAX_MISS, likely, rows_of_band
from components.preprocess.shingles import jaccard
from tests.tiny import tiny_rows

PARAMS = NearDuplicates(threshold=0.8, shingle_size=5, num_permutations=128)
TEXT = "the quick brown fox jumps over the lazy dog and runs away"


def judged(texts: Sequence[str], labels: Sequence[int], *, conflicts: str = "remove") -> tuple[list[str], Verdicts]:
    column = pa.array(texts, pa.large_string())
    verdicts = judge(column, np.array(labels), PARAMS, num_labels=3, conflicts=conflicts)
    return [FATES[fate] for fate in verdicts.fate], verdicts


def mutated(texts: Sequence[str], *, num: int) -> list[str]:
    """The texts among copies of them that differ by a few letters, in an order of chance."""
    rng = random.Random(0)
    found = list(texts)
    for _ in range(num):
        letters = list(rng.choice(found))
        for _ in range(rng.randint(0, 2)):
            letters[rng.randrange(len(letters))] = rng.choice("abc")
        found.append("".join(letters))
    found = list(dict.fromkeys(found))
    rng.shuffle(found)
    return found


def templated(num: int) -> list[str]:
    """Texts of one template, of which most are just less alike than the threshold, and some are more."""
    rng = random.Random(1)
    states = ("shipped", "cancelled", "delayed")
    return [
        f"Your order {rng.randrange(10**7)} placed on day {rng.randrange(365)} has been {states[i % 3]} by the "
        "warehouse team, thank you for shopping with us"
        for i in range(num)
    ]


@pytest.mark.parametrize("texts", [mutated([text for text, _ in tiny_rows(80)], num=300), templated(300)])
def test_leaders_are_those_that_comparing_all_pairs_gives(texts: list[str]) -> None:
    expected = list(range(len(texts)))
    for row, text in enumerate(texts):
        firsts = [other for other in range(row) if expected[other] == other]
        shares = jaccard([texts[first] for first in firsts], [text] * len(firsts), size=5) if firsts else np.array([])
        expected[row] = next((first for first, share in zip(firsts, shares, strict=True) if share >= 0.8), row)
    found = leaders(pa.array(texts, pa.large_string()), PARAMS).tolist()
    kept = [row for row, leader in enumerate(found) if leader == row]
    assert 80 <= len(kept) < len(texts)
    assert kept == [row for row, leader in enumerate(expected) if leader == row]


@pytest.mark.parametrize(
    ("pairs", "leader", "is_settled"),
    [
        ([(0, 1), (0, 2)], [0, 0, 0, 3], True),
        ([(0, 1), (1, 2)], [0, 0, 2, 3], False),  # 2 may have a neighbour that it was not compared with
        ([(0, 1), (1, 3), (2, 3)], [0, 0, 2, 2], True),
    ],
)
def test_only_leaders_are_followed(pairs: list[tuple[int, int]], leader: list[int], is_settled: bool) -> None:
    found = np.arange(4)
    assert follow(found, *np.array(pairs).T) is is_settled
    assert found.tolist() == leader


def test_texts_of_one_template_are_not_compared_pair_by_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def counted(*pairs: np.ndarray, threshold: float) -> np.ndarray:
        asked.append(len(pairs[1]))
        return likely(*pairs, threshold=threshold)

    monkeypatch.setattr("components.preprocess.duplicates.likely", counted)
    found = leaders(pa.array(templated(800), pa.large_string()), PARAMS)
    assert 400 < (found == np.arange(800)).sum() < 700
    assert sum(asked) < 200 * 800  # of some 320,000 pairs, which nine bands in the mean would each compare


def test_many_copies_of_one_text_are_not_compared_in_pairs() -> None:
    texts = [f"{TEXT} and a very long tail that is the same in every one of these texts {n}" for n in range(5_000)]
    found = leaders(pa.array(texts, pa.large_string()), PARAMS)
    assert (found == 0).mean() > 0.99


@pytest.mark.parametrize("threshold", [0.6, 0.7, 0.8, 0.9, 1.0])
def test_bands_miss_next_to_no_pair_at_the_threshold(threshold: float) -> None:
    rows = rows_of_band(threshold, num_permutations=128)
    assert (1 - threshold**rows) ** (128 // rows) <= MAX_MISS
    assert rows >= 2


def test_the_first_of_equal_rows_stays() -> None:
    fates, verdicts = judged(["a b c d", "e f g h", "a b c d", "a b c d"], [0, 1, 0, 0])
    assert fates == ["kept", "kept", "duplicate", "duplicate"]
    assert verdicts.first.tolist() == [0, 1, 0, 0]
    assert verdicts.num_conflicting_texts == 0


def test_a_near_duplicate_goes_and_says_of_what() -> None:
    fates, verdicts = judged(["other words", TEXT, TEXT + "!", TEXT.upper()], [0, 1, 1, 1])
    assert fates == ["kept", "kept", "near-duplicate", "near-duplicate"]
    assert verdicts.first.tolist() == [0, 1, 1, 1]


def test_conflicting_rows_all_go() -> None:
    fates, verdicts = judged(["a b c d", "e f g h", "a b c d", "a b c d"], [0, 1, 0, 2])
    assert fates == ["conflicting", "kept", "conflicting", "conflicting"]
    assert verdicts.num_conflicting_texts == 1


def test_near_duplicates_with_two_labels_conflict() -> None:
    fates, _ = judged([TEXT, TEXT + "!", "other words"], [0, 1, 0])
    assert fates == ["conflicting", "conflicting", "kept"]


def test_the_majority_of_rows_decides_and_the_first_row_takes_its_label() -> None:
    fates, verdicts = judged([TEXT, TEXT, TEXT + "!", TEXT + "?"], [0, 1, 1, 1], conflicts="majority")
    assert fates == ["kept", "duplicate", "near-duplicate", "near-duplicate"]
    assert verdicts.label[0] == 1
    fates, verdicts = judged([TEXT, TEXT, TEXT + "!"], [1, 1, 0], conflicts="majority")
    assert fates == ["kept", "duplicate", "outvoted"]
    assert verdicts.label[0] == 1


def test_a_tie_goes() -> None:
    fates, _ = judged([TEXT, TEXT + "!", "other words"], [0, 1, 2], conflicts="majority")
    assert fates == ["conflicting", "conflicting", "kept"]
