import random

import numpy as np
import pytest

from components.params import Split
from components.plumbing.errors import InputError
from components.preprocess.split import TEST, TRAIN, VALIDATION, grouped, stratified

PARAMS = Split(validation=0.1, test=0.2, seed=0, group=None)
GROUPED = Split(validation=0.1, test=0.2, seed=0, group="customer")
LABELS = ["bad", "good", "so-so"]
TEXTS = [f"text {n}" for n in range(1_000)]
IDS = np.array([0] * 700 + [1] * 250 + [2] * 50)


def test_each_class_has_its_share_of_each_split() -> None:
    split = stratified(TEXTS, IDS, PARAMS, labels=LABELS)
    for label, count in enumerate([700, 250, 50]):
        assert (split[label == IDS] == VALIDATION).sum() == count * 0.1
        assert (split[label == IDS] == TEST).sum() == count * 0.2


def test_the_split_does_not_depend_on_the_order_of_the_rows() -> None:
    split = dict(zip(TEXTS, stratified(TEXTS, IDS, PARAMS, labels=LABELS), strict=True))
    order = list(range(len(TEXTS)))
    random.Random(0).shuffle(order)
    shuffled = [TEXTS[row] for row in order]
    again = dict(zip(shuffled, stratified(shuffled, IDS[order], PARAMS, labels=LABELS), strict=True))
    assert again == split


def test_the_split_is_the_same_on_every_machine() -> None:
    split = stratified(TEXTS[:20], np.array([0, 1] * 10), PARAMS, labels=LABELS[:2])
    assert "".join(map(str, split)) == "01000010000220200002"


def test_another_seed_gives_another_split() -> None:
    other = PARAMS.model_copy(update={"seed": 1})
    split, again = (stratified(TEXTS, IDS, params, labels=LABELS) for params in (PARAMS, other))
    assert (split != again).any()


@pytest.mark.parametrize("count", [0, 1, 4])
def test_a_class_too_small_to_stratify_is_refused(count: int) -> None:
    ids = np.array([0] * 100 + [1] * count)
    with pytest.raises(InputError, match=rf"too small to stratify: .*'good' has {count} rows.* needs 5 to be in every"):
        stratified(TEXTS[: len(ids)], ids, PARAMS, labels=LABELS[:2])


def test_the_number_that_the_refusal_names_is_enough() -> None:
    ids = np.array([0] * 100 + [1] * 5)
    split = stratified(TEXTS[:105], ids, PARAMS, labels=LABELS[:2])
    assert set(split[ids == 1]) == {TRAIN, VALIDATION, TEST}


def test_no_group_is_in_two_splits_and_classes_keep_their_shares() -> None:
    rng = np.random.default_rng(0)
    groups = [f"customer {n}" for n in rng.integers(0, 200, 1_000)]
    split = grouped(groups, IDS, GROUPED, labels=LABELS)
    where: dict[str, set[int]] = {}
    for group, number in zip(groups, split.tolist(), strict=True):
        where.setdefault(group, set()).add(number)
    assert all(len(numbers) == 1 for numbers in where.values())
    for label, count in enumerate([700, 250, 50]):
        assert (split[label == IDS] == VALIDATION).sum() == pytest.approx(count * 0.1, abs=2)
        assert (split[label == IDS] == TEST).sum() == pytest.approx(count * 0.2, abs=2)


@pytest.mark.parametrize("num_groups", [3, 4, 5])
def test_three_groups_are_enough(num_groups: int) -> None:
    groups = [f"group {n % num_groups}" for n in range(60)]
    split = grouped(groups, np.array([0, 1] * 15 + [1, 0] * 15), GROUPED, labels=LABELS[:2])
    assert set(split) == {TRAIN, VALIDATION, TEST}


def test_a_class_in_too_few_groups_is_refused() -> None:
    groups = [f"group {n % 50}" for n in range(100)] + ["one", "two"] * 10
    ids = np.array([0] * 100 + [1] * 20)
    with pytest.raises(
        InputError, match=r"too small to split by 'customer': 'good' is missing from .* 20 rows .* in 2"
    ):
        grouped(groups, ids, GROUPED, labels=LABELS[:2])
