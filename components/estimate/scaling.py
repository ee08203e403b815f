"""The devices that a training of any size needs: how many of them, under plain data parallelism and under full
sharding, and for how long.

The arithmetic is the field's: 16 bytes a parameter for weights, gradients and Adam in mixed precision and their
division over devices (Rajbhandari et al. 2020, ZeRO, section 3.1, stage 3), 6 operations a parameter and token (Kaplan
et al. 2020, section 2.1), 20 tokens a parameter where none are given (Hoffmann et al. 2022), activations of a
Transformer layer (Korthikanti et al. 2022, with attention that keeps no matrix). The shape of the Transformer, which
activations hang on, is that of GPT-3's family (Brown et al. 2020, table 2.1): about 128 times as wide as deep.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

SECONDS_A_DAY = 86_400
TOKENS_A_PARAMETER = 20
OPERATIONS_A_PARAMETER = 6
WIDTH_TO_DEPTH = 128
BYTES_A_LAYER = 34
"""The bytes that are kept for each number of a layer's width and each token, in 16 bits; twice as many in 32."""
RESERVED = 0.1
"""The share of a device's memory that is kept for the libraries and for what falls between allocations."""

Precision = Literal["fp32", "bf16"]
OptimizerName = Literal["adamw", "adam", "rmsprop", "momentum", "sgd"]
STATE_BYTES: Mapping[str, int] = {"adamw": 8, "adam": 8, "rmsprop": 4, "momentum": 4, "sgd": 0}
"""The bytes of an optimizer's state per parameter, in 32 bits."""
MODEL_BYTES: Mapping[str, tuple[int, int]] = {"fp32": (4, 4), "bf16": (6, 2)}
"""The bytes per parameter of the weights (in mixed precision those in 16 bits, and the 32 that the optimizer
moves) and of the gradients."""


@dataclass(frozen=True)
class Question:
    """A training of a model of some size, and the devices to train it on."""

    num_parameters: float
    num_tokens: float | None
    """The tokens to train on; None for 20 a parameter."""
    device_memory_bytes: float
    device_flops: float
    """The floating-point operations per second of a device at its best, in the precision that is asked about."""
    utilisation: float
    """The share of these operations that a training reaches."""
    precision: Precision
    optimizer: OptimizerName
    days: float
    """The days in which the training is to be done."""
    context: int
    """The tokens of a row; each device works on one row at a time."""


@dataclass(frozen=True)
class Way:
    """The devices that one way of dividing the work needs."""

    name: str
    bytes_a_device: float
    """The bytes that a device holds, with the fewest devices that can hold the training."""
    num_for_memory: int | None
    """The fewest devices that can hold the training; None where no number can."""
    num_devices: int | None
    """The fewest devices that can hold the training and do it in time; None where no number can hold it."""
    days: float | None
    """The days that the training takes on `num_devices`; None where no number can hold it."""


@dataclass(frozen=True)
class ScalingAnswer:
    num_parameters: float
    num_tokens: float
    flops: float
    weight_bytes: float
    gradient_bytes: float
    optimizer_bytes: float
    activation_bytes: float
    """The bytes of the activations of one device."""
    one_device_days: float
    """The days that one device would take, if it had the memory."""
    ways: list[Way]
    assumptions: list[str]


def answer(question: Question) -> ScalingAnswer:
    """Work out how many devices a training needs, and for how long."""
    count = question.num_parameters
    num_tokens = question.num_tokens or TOKENS_A_PARAMETER * count
    weights, gradients = (size * count for size in MODEL_BYTES[question.precision])
    state = STATE_BYTES[question.optimizer] * count
    num_layers = depth(count)
    activations = activation_bytes(question)
    # Sharded, a device still gathers the whole of the layer that it is at, and of the next one.
    gathered = 2 * count / num_layers * (2 if question.precision == "bf16" else 4)
    flops = OPERATIONS_A_PARAMETER * count * num_tokens
    one_device_days = flops / (question.device_flops * question.utilisation) / SECONDS_A_DAY
    usable = question.device_memory_bytes * (1 - RESERVED)
    held = weights + gradients + state
    ways = [
        way("data parallel", held=held, divided=False, beside=activations, usable=usable, days=one_device_days,
            wanted_days=question.days),
        way("fully sharded", held=held, divided=True, beside=activations + gathered, usable=usable,
            days=one_device_days, wanted_days=question.days),
    ]  # fmt: skip
    return ScalingAnswer(
        num_parameters=count,
        num_tokens=num_tokens,
        flops=flops,
        weight_bytes=weights,
        gradient_bytes=gradients,
        optimizer_bytes=state,
        activation_bytes=activations,
        one_device_days=one_device_days,
        ways=ways,
        assumptions=assumptions_of(question, num_layers),
    )


def way(name: str, *, held: float, divided: bool, beside: float, usable: float, days: float, wanted_days: float) -> Way:
    """Work out one way: the bytes `held` lie on each device, or are divided over all; the bytes
    `beside` lie on each anyway."""
    if divided:
        fewest = max(1, math.ceil(held / (usable - beside))) if usable > beside else None
    else:
        fewest = 1 if held + beside <= usable else None
    if fewest is None:
        return Way(name, held + beside, None, None, None)
    num_devices = max(fewest, math.ceil(days / wanted_days))
    return Way(name, held / (fewest if divided else 1) + beside, fewest, num_devices, days / num_devices)


def depth(num_parameters: float) -> int:
    """Return the number of layers of a Transformer of so many parameters, which are 12 * layers * width^2."""
    return max(1, round((num_parameters / (12 * WIDTH_TO_DEPTH**2)) ** (1 / 3)))


def activation_bytes(question: Question) -> float:
    """Return the bytes of the activations of one row on one device, with nothing computed twice."""
    num_layers = depth(question.num_parameters)
    width = math.sqrt(question.num_parameters / (12 * num_layers))
    return question.context * width * num_layers * BYTES_A_LAYER * (1 if question.precision == "bf16" else 2)


def assumptions_of(question: Question, num_layers: int) -> list[str]:
    """Return everything that was assumed and not asked for, in plain words."""
    weights, gradients = MODEL_BYTES[question.precision]
    state = STATE_BYTES[question.optimizer]
    found = [
        f"{weights + gradients + state} bytes a parameter: {weights} for weights"
        + (" (16 bits, and the 32 that the optimizer moves)" if question.precision == "bf16" else "")
        + f", {gradients} for gradients, {state} for {question.optimizer}'s state",
        f"{OPERATIONS_A_PARAMETER} operations a parameter and token, forward and backward",
        f"a Transformer of {num_layers} layers, about {WIDTH_TO_DEPTH} times as wide as deep; each device works on one "
        f"row of {question.context:,} tokens at a time, and computes no activation twice",
        f"{question.utilisation:.0%} of {question.device_flops:.3g} operations a second on each device, however many "
        "there are",
        f"{RESERVED:.0%} of a device's memory is kept for libraries and gaps",
        f"to be done in {question.days:g} days",
    ]
    if question.num_tokens is None:
        found.append(f"{TOKENS_A_PARAMETER} tokens a parameter, since --tokens is not given")
    return found
