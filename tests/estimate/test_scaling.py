import math
from dataclasses import replace
from typing import Any

import pytest

from components.estimate.scaling import Question, answer

SEVEN_BILLION = Question(
    num_parameters=7e9, num_tokens=None, device_memory_bytes=80 * 2**30, device_flops=400e12, utilisation=0.4,
    precision="bf16", optimizer="adamw", days=30, context=2048,
)  # fmt: skip


def ways(question: Question) -> Any:
    data_parallel, sharded = answer(question).ways
    return data_parallel, sharded


def test_seven_billion_parameters_by_hand() -> None:
    found = answer(SEVEN_BILLION)
    assert found.num_tokens == 1.4e11
    assert found.flops == pytest.approx(6 * 7e9 * 1.4e11)
    assert found.weight_bytes + found.gradient_bytes + found.optimizer_bytes == pytest.approx(16 * 7e9)
    assert found.one_device_days == pytest.approx(5.88e21 / 1.6e14 / 86_400)
    layers = 33
    assert found.activation_bytes == pytest.approx(34 * 2048 * layers * math.sqrt(7e9 / 12 / layers))


def test_plain_data_parallelism_holds_everything_on_each_device_or_nowhere() -> None:
    data_parallel, _ = ways(SEVEN_BILLION)
    assert data_parallel.num_for_memory is None
    assert data_parallel.num_devices is None
    assert data_parallel.bytes_a_device > 112e9
    large, _ = ways(replace(SEVEN_BILLION, device_memory_bytes=192e9))
    assert large.num_for_memory == 1
    assert large.num_devices == math.ceil(425.35 / 30)


def test_sharding_divides_what_is_held() -> None:
    _, sharded = ways(SEVEN_BILLION)
    assert sharded.num_for_memory == 2  # 112 GB over two, beside about 10 GB, of 77 GB each
    assert sharded.bytes_a_device < 0.9 * 80 * 2**30
    assert sharded.num_devices == 15
    assert sharded.days == pytest.approx(425.35 / 15, rel=1e-3)
    _, small = ways(replace(SEVEN_BILLION, device_memory_bytes=24e9))
    assert small.num_for_memory == math.ceil(112e9 / (21.6e9 - (small.bytes_a_device - 112e9 / small.num_for_memory)))
    _, tiny = ways(replace(SEVEN_BILLION, device_memory_bytes=8e9))
    assert tiny.num_for_memory is None  # one row's activations alone are more


@pytest.mark.parametrize(
    ("precision", "optimizer", "num_bytes"),
    [("bf16", "adamw", 16), ("fp32", "adam", 16), ("fp32", "momentum", 12), ("fp32", "sgd", 8), ("bf16", "sgd", 8)],
)
def test_bytes_of_a_parameter(precision: str, optimizer: str, num_bytes: int) -> None:
    found = answer(replace(SEVEN_BILLION, precision=precision, optimizer=optimizer))
    assert found.weight_bytes + found.gradient_bytes + found.optimizer_bytes == pytest.approx(num_bytes * 7e9)


def test_every_assumption_is_said() -> None:
    said = " ".join(answer(SEVEN_BILLION).assumptions)
    for words in (
        "16 bytes a parameter",
        "20 tokens a parameter",
        "6 operations",
        "40%",
        "10%",
        "33 layers",
        "30 days",
    ):
        assert words in said
    assert "--tokens" not in " ".join(answer(replace(SEVEN_BILLION, num_tokens=1e9)).assumptions)
