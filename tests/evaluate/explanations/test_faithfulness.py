"""The figures of explanations, on rows whose right explanation is known."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import kendalltau

from components.evaluate.explanations.faithfulness import (
    NUM_RANDOM,
    SHARES,
    Parted,
    faithfulness,
    order_of,
    perturb,
    random_orders,
)
from components.evaluate.explanations.study import Explained, study, verdicts
from components.params import Bootstrap

BOOTSTRAP = Bootstrap(num_samples=200, seed=0, confidence=0.95)
Row = NDArray[np.float64]


def row_of(worth: Sequence[float]) -> Parted[Row]:
    """A row whose score for label 1 is the sum of what its kept parts are worth."""
    values = np.array(worth)
    return Parted(label_id=1, num_parts=len(values), keep=lambda kept: np.where(kept, values, 0.0))


def predict(rows: Sequence[Row]) -> NDArray[np.float32]:
    totals = np.array([row.sum() for row in rows])
    return np.stack([1 - totals, totals], axis=1).astype(np.float32)


def test_a_row_is_perturbed_by_hand() -> None:
    found = perturb(predict, row_of([0.1, 0.4, 0.0, 0.2]), {"best": np.array([1, 3, 0, 2])})
    assert (found.whole, found.empty) == (pytest.approx(0.7), 0)
    # one part of four up to 20 %, two at 50 %
    np.testing.assert_allclose(found.without["best"], [0.3, 0.3, 0.3, 0.3, 0.1], atol=1e-6)
    np.testing.assert_allclose(found.alone["best"], [0.4, 0.4, 0.4, 0.4, 0.6], atol=1e-6)


def test_each_choice_of_parts_is_asked_once() -> None:
    asked: list[bytes] = []

    def count(rows: Sequence[Row]) -> NDArray[np.float32]:
        asked.extend(row.tobytes() for row in rows)
        return predict(rows)

    orders = {"one": np.array([0, 1, 2]), "same": np.array([0, 1, 2])}
    perturb(count, row_of([0.1, 0.2, 0.3]), orders)
    assert len(asked) == len(set(asked)) == 6


def test_figures_are_shares_of_the_room_of_all_rows() -> None:
    rows = [
        perturb(predict, row_of([0.6, 0.2]), {"best": np.array([0, 1])}),
        perturb(predict, row_of([0.1, 0.1]), {"best": np.array([0, 1])}),
    ]
    found = faithfulness(rows, against={})(np.ones((2, 1), np.float32))
    # each share takes one part of two: 0.6 and 0.1 are lost of 0.8 and 0.2
    np.testing.assert_allclose(found["best comprehensiveness curve"][:, 0], [0.7] * len(SHARES), atol=1e-6)
    assert found["best sufficiency"][0] == pytest.approx(0.7)


def test_rows_without_any_room_have_no_figures() -> None:
    row = perturb(predict, row_of([0.0, 0.0]), {"best": np.array([0, 1])})
    found = faithfulness([row], against={})(np.ones((1, 1), np.float32))
    assert np.isnan(found["best comprehensiveness"]).all()


def test_parts_of_equal_effect_keep_their_order() -> None:
    assert order_of(np.array([0.0, 0.5, 0.0, -1.0])).tolist() == [1, 0, 2, 3]


def test_random_orders_are_those_of_their_seed() -> None:
    one, other = random_orders(9, seed=1), random_orders(9, seed=1)
    assert len(one) == NUM_RANDOM
    assert all(np.array_equal(one[name], other[name]) for name in one)
    assert any(not np.array_equal(order, random_orders(9, seed=2)[name]) for name, order in one.items())


def rows_of(effects: str) -> list[Explained[Row]]:
    """Rows whose first method says the truth, and whose second says the truth, the opposite, or nothing."""
    random = np.random.default_rng(0)
    rows: list[Explained[Row]] = []
    for _ in range(40):
        worth = random.dirichlet([0.3] * 12) * 0.9
        second = {"truth": worth, "opposite": -worth, "nothing": np.zeros(12)}[effects]
        said = {"leave_one_out": worth, "integrated_gradients": second}
        rows.append(Explained(row_of(worth), said, {name: random.normal(size=12) for name in said}))
    return rows


def test_the_truth_surely_beats_both_controls_and_its_opposite_neither() -> None:
    found = study(predict, rows_of("opposite"), seed=0, bootstrap=BOOTSTRAP)
    best, worst = found.orders["leave_one_out"], found.orders["integrated_gradients"]
    for kind in ("comprehensiveness", "sufficiency"):
        for other in ("random", "random_weights"):
            assert best[f"{kind}_over_{other}_low"] > 0
            assert worst[f"{kind}_over_{other}_high"] < 0
    lines = verdicts(found, parts="words")
    assert sum("DOES NOT" in line for line in lines) == 2
    assert all(("DOES NOT" in line) == line.startswith("Integrated") for line in lines[:4])
    assert found.agreement["tau"] < -0.9
    assert found.num_agreeing == 40


def test_a_method_that_says_nothing_agrees_with_none() -> None:
    found = study(predict, rows_of("nothing"), seed=0, bootstrap=BOOTSTRAP)
    assert found.agreement == {"tau": None, "tau_low": None, "tau_high": None}
    assert found.num_agreeing == 0
    assert len(verdicts(found, parts="words")) == 4


def test_kendalls_tau_is_that_of_scipy() -> None:
    rows = rows_of("truth")
    rows = [
        Explained(one.row, {**one.effects, "integrated_gradients": np.roll(one.effects["leave_one_out"], 1)}, {})
        for one in rows
    ]
    rows = [Explained(one.row, one.effects, one.effects) for one in rows]
    found = study(predict, rows, seed=0, bootstrap=BOOTSTRAP)
    expected = np.mean([kendalltau(*one.effects.values())[0] for one in rows])
    assert found.agreement["tau"] == pytest.approx(expected, abs=1e-5)


def test_scores_that_no_part_changes_are_said_to_tell_nothing() -> None:
    row = row_of([0.0, 0.0, 0.0])
    rows = [Explained(row, {"leave_one_out": np.zeros(3)}, {"leave_one_out": np.zeros(3)})]
    found = study(predict, rows, seed=0, bootstrap=BOOTSTRAP)
    assert found.orders["leave_one_out"]["comprehensiveness"] is None
    assert found.agreement == {}
    lines = verdicts(found, parts="words")
    assert len(lines) == 2
    assert all("cannot be told" in line for line in lines)
