import re
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from serving.predictors.sampling import RequestError, Sampling, distribution, generator_of, next_token

LOGITS = np.log(np.array([0.1, 0.4, 0.05, 0.25, 0.2], np.float32))
ASKED: dict[str, Any] = {"max_tokens": 4, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "seed": 0, "stop": ()}


def test_zero_temperature_takes_the_likeliest() -> None:
    sampling = Sampling(**ASKED | {"temperature": 0})
    assert {next_token(LOGITS, sampling, generator_of(seed)) for seed in range(20)} == {1}


def test_all_tokens_come_as_often_as_they_are_likely() -> None:
    generator = generator_of(0)
    drawn = [next_token(LOGITS, Sampling(**ASKED), generator) for _ in range(20_000)]
    assert_allclose(np.bincount(drawn, minlength=5) / 20_000, [0.1, 0.4, 0.05, 0.25, 0.2], atol=0.015)


def test_temperature_sharpens() -> None:
    kept, probability = distribution(LOGITS, temperature=0.5, top_k=0, top_p=1.0)
    squares = np.array([0.1, 0.4, 0.05, 0.25, 0.2]) ** 2
    assert kept.tolist() == [0, 1, 2, 3, 4]
    assert_allclose(probability, squares / squares.sum(), rtol=1e-5)


@pytest.mark.parametrize(
    ("top_k", "top_p", "kept"),
    [(2, 1.0, [1, 3]), (0, 0.6, [1, 3]), (0, 0.7, [1, 3, 4]), (1, 0.9, [1]), (9, 1.0, [0, 1, 2, 3, 4]), (0, 0.01, [1])],
)
def test_only_the_likeliest_are_drawn_from(top_k: int, top_p: float, kept: list[int]) -> None:
    found, probability = distribution(LOGITS, temperature=1.0, top_k=top_k, top_p=top_p)
    assert found.tolist() == kept
    assert probability.sum() == pytest.approx(1)
    assert len(probability) == len(kept)


def test_top_p_is_of_the_tokens_that_top_k_kept() -> None:
    kept, _ = distribution(LOGITS, temperature=1.0, top_k=3, top_p=0.6)  # 0.4 / 0.85 and 0.25 / 0.85
    assert kept.tolist() == [1, 3]


def test_kept_tokens_are_those_of_the_plain_definition() -> None:
    rng = np.random.default_rng(1)
    for top_k, top_p in [(0, 0.9), (50, 0.9), (50, 1.0), (300, 0.5), (0, 0.999)]:
        logits = rng.normal(0, 3, 500).astype(np.float32)
        probability = np.exp(logits.astype(np.float64)) / np.exp(logits.astype(np.float64)).sum()
        order = np.argsort(-probability)[: top_k or None]
        probability = probability[order] / probability[order].sum()
        num = int(np.sum(probability.cumsum() < top_p)) + 1 if top_p < 1 else len(order)
        kept, found = distribution(logits, temperature=1.0, top_k=top_k, top_p=top_p)
        assert kept.tolist() == order[:num].tolist()
        assert_allclose(found, probability[:num] / probability[:num].sum(), rtol=1e-9)


def test_equally_likely_tokens_are_in_their_order() -> None:
    kept, _ = distribution(np.zeros(5, np.float32), temperature=1.0, top_k=3, top_p=1.0)
    assert kept.tolist() == [0, 1, 2]


def test_tiny_temperature_and_vast_logits_are_finite() -> None:
    logits = np.array([1e30, -1e30, 1e30], np.float32)
    _, probability = distribution(logits, temperature=1e-300, top_k=0, top_p=1.0)
    assert np.isfinite(probability).all()
    assert next_token(logits, Sampling(**ASKED | {"temperature": 1e-300}), generator_of(1)) in (0, 2)


def test_same_seed_draws_the_same_and_another_does_not() -> None:
    def drawn(seed: int) -> list[int]:
        generator = generator_of(seed)
        return [next_token(LOGITS, Sampling(**ASKED), generator) for _ in range(50)]

    assert drawn(3) == drawn(3)
    assert drawn(3) != drawn(4)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("max_tokens", 0, "max_tokens is 0; it must be an integer from 1 on"),
        ("max_tokens", 1.5, "max_tokens is 1.5"),
        ("max_tokens", True, "max_tokens is True"),
        ("temperature", -0.1, "temperature is -0.1; it must be a number from 0 on"),
        ("temperature", float("nan"), "temperature is nan"),
        ("temperature", 10**400, "temperature is 1000"),
        ("temperature", "hot", "temperature is 'hot'"),
        ("top_k", -1, "top_k is -1; it must be an integer from 0 on"),
        ("top_p", 0, "top_p is 0; it must be a number above 0, at most 1"),
        ("top_p", 1.01, "top_p is 1.01"),
        ("seed", -1, "seed is -1; it must be an integer from 0 to 9007199254740991"),
        ("seed", 2**53, "seed is 9007199254740992"),
        ("seed", None, "seed is None"),
        ("stop", ("",), "stop has ''; each must be a text of 1 to 100 characters"),
        ("stop", (1,), "stop has 1; each must be a text"),
        ("stop", ("a" * 101,), "each must be a text of 1 to 100 characters"),
        ("stop", ("a",) * 9, "stop has 9 texts; at most 8"),
    ],
)
def test_value_out_of_range_is_refused(name: str, value: object, error: str) -> None:
    with pytest.raises(RequestError, match=re.escape(error)):
        Sampling(**ASKED | {name: value})
