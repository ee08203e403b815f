"""The section of compress, the stage that looks for the smallest and fastest model within the limits."""

from typing import Annotated, Literal

from pydantic import Field

from components.params.section import Positive, Section


class Fp32(Section):
    """The candidate that stays the fp32 ONNX model as exported, for a model that loses too much in int8."""

    method: Literal["fp32"]


class Int8(Section):
    method: Literal["int8"]


class Pruned(Section):
    method: Literal["pruned_int8"]
    sparsity: Annotated[float, Field(gt=0, lt=1)]
    """The share of the smallest weights of every linear layer that become zero before int8."""


class CompressionGate(Section):
    max_drop: Annotated[float, Field(ge=0)]
    """The most by which the compressed model may be worse than the float model on the validation split: in the metric
    of evaluate's gate (0.01 of accuracy is one point), in bits per byte, or in Fréchet distance as a share of the float
    model's."""
    min_speedup: Annotated[float, Field(gt=0)]
    """The least ratio of the compressed model's rows/s (tokens/s, samples/s) to those of torch fp32, measured in the
    same run and called as the service calls."""
    max_size_ratio: Annotated[float, Field(gt=0)]
    """The largest ratio of the bytes of the compressed model's files to those of the float weights."""


class Compress(Section):
    """The section of the stage compress."""

    candidates: Annotated[
        tuple[Annotated[Fp32 | Int8 | Pruned, Field(discriminator="method")], ...], Field(min_length=1)
    ]
    gate: CompressionGate
    threads: Positive
    """The number of rows computed at once while measuring; package.serving has the same, so that what is measured is
    what is served."""
    num_latency_rows: Annotated[int, Field(ge=20)]
    """The number of single rows (prompts, samples) timed for p50 and p99."""
