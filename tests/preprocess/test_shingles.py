import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.params import NearDuplicates
from components.preprocess.shingles import BLOCK_CHARACTERS, jaccard, shingles, signatures

TEXTS = st.lists(st.tuples(st.text("abAB\u8c22\U0001f600 ", max_size=12), st.text("ab ", max_size=12)), min_size=1)


def shingle_set(text: str, size: int) -> set[str]:
    text = text.casefold()
    return {text[at : at + size] for at in range(max(len(text) - size + 1, 1))}


@settings(deadline=None)
@given(pairs=TEXTS, size=st.integers(1, 5))
def test_jaccard_is_that_of_the_sets(pairs: list[tuple[str, str]], size: int) -> None:
    expected: list[float] = []
    for left, right in pairs:
        one, other = shingle_set(left.ljust(size, "\0"), size), shingle_set(right.ljust(size, "\0"), size)
        expected.append(len(one & other) / len(one | other))
    left, right = zip(*pairs, strict=True)
    assert jaccard(left, right, size=size) == pytest.approx(expected)


def test_a_text_shorter_than_a_shingle_is_one_shingle() -> None:
    hashes, counts = shingles(["ab", "abcdef", ""], size=5)
    assert counts.tolist() == [1, 2, 1]
    assert len(set(hashes.tolist())) == 4


def test_signatures_estimate_the_similarity() -> None:
    params = NearDuplicates(threshold=0.8, shingle_size=3, num_permutations=512)
    rng = np.random.default_rng(0)
    left = ["".join(rng.choice(list("abcdefghij"), 200)) for _ in range(50)]
    right = [text[: 4 * number] + "z" * (200 - 4 * number) for number, text in enumerate(left)]
    signed = [signatures(pa.array(texts, pa.large_string()), params, seed=1) for texts in (left, right)]
    estimated = (signed[0] == signed[1]).mean(axis=1)
    assert np.abs(estimated - jaccard(left, right, size=3)).max() < 0.1  # more than four standard deviations


def test_a_signature_does_not_depend_on_the_texts_around_it() -> None:
    params = NearDuplicates(threshold=0.8, shingle_size=5, num_permutations=16)
    texts = ["short", "", "x" * (2 * BLOCK_CHARACTERS), *(f"text number {n}" for n in range(9_000)), "\u8c22\u8c22"]
    column = pa.array(["left out", *texts], pa.large_string())[1:]
    signed = signatures(column, params, seed=1)
    assert len(signed) == len(texts)
    for row in (0, 1, 2, 3, 5_000, len(texts) - 1):
        alone = signatures(pa.array([texts[row]], pa.large_string()), params, seed=1)
        assert (signed[row] == alone[0]).all()


def test_another_seed_gives_other_signatures() -> None:
    params = NearDuplicates(threshold=0.8, shingle_size=5, num_permutations=64)
    column = pa.array(["the same text"], pa.large_string())
    assert (signatures(column, params, seed=1) != signatures(column, params, seed=2)).all()
