import random
from contextlib import nullcontext as does_not_raise

import pyarrow as pa
import pytest

from components.params import NearDuplicates
from components.plumbing.errors import LeakageError
from components.preprocess.leakage import check_leakage
from tests.tiny import tiny_rows

PARAMS = NearDuplicates(threshold=0.8, shingle_size=5, num_permutations=128)
TEXTS = [text for text, _ in tiny_rows(300)]


def splits(*, train: list[str], validation: list[str], test: list[str]) -> dict[str, pa.LargeStringArray]:
    named = {"train": train, "validation": validation, "test": test}
    return {name: pa.array(texts, pa.large_string()) for name, texts in named.items()}


def test_different_texts_pass() -> None:
    with does_not_raise():
        check_leakage(splits(train=TEXTS[:200], validation=TEXTS[200:250], test=TEXTS[250:]), PARAMS)


def test_near_duplicates_within_one_split_pass() -> None:
    train = [*TEXTS[:200], TEXTS[0] + "!"]
    with does_not_raise():
        check_leakage(splits(train=train, validation=TEXTS[200:250], test=TEXTS[250:]), PARAMS)


def test_near_duplicate_across_splits_is_found_among_texts_of_one_template() -> None:
    rng = random.Random(1)
    texts = [
        f"Your order {rng.randrange(10**9)} is on its way with the van of day {rng.randrange(365)}" for _ in range(200)
    ]
    parts = splits(train=texts[:100], validation=texts[100:150], test=[*texts[150:], texts[99] + "!"])
    with pytest.raises(LeakageError, match="1 texts of one split come again"):
        check_leakage(parts, PARAMS)


def test_an_equal_text_in_another_split_is_a_leak() -> None:
    leaky = splits(train=TEXTS[:200], validation=TEXTS[200:250], test=[*TEXTS[250:], TEXTS[7]])
    with pytest.raises(LeakageError, match=rf"1 texts .* '{TEXTS[7][:60]} \(train\) ~ .* \(test\)'") as caught:
        check_leakage(leaky, PARAMS)
    assert caught.value.exit_code == 3
    assert caught.value.report["num_equal"] == 1


def test_every_near_duplicate_in_another_split_is_a_leak() -> None:
    validation = [text + "!" for text in TEXTS[100:150]]
    test = [text.upper() for text in TEXTS[150:200]]
    with pytest.raises(LeakageError, match=r"100 texts .* and 95 more; ") as caught:
        check_leakage(splits(train=TEXTS[:200], validation=validation, test=test), PARAMS)
    assert caught.value.report["num_leaks"] == 100
    assert caught.value.report["num_equal"] == 0


def test_the_splits_need_not_hold_train() -> None:
    leaky = splits(train=TEXTS[:100], validation=[*TEXTS[100:150], TEXTS[200] + "."], test=TEXTS[200:])
    with pytest.raises(LeakageError, match=r"\(validation\) ~ .*\(test\)"):
        check_leakage(leaky, PARAMS)
