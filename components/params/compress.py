"""The section of compress: the smallest and fastest model within the limits."""

from typing import Annotated, Literal

from pydantic import Field

from components.params.section import Positive, Section


class Fp32(Section):
    """The candidate that is ONNX as it is exported, for a model that int8 hurts."""

    method: Literal["fp32"]


class Int8(Section):
    method: Literal["int8"]


class Pruned(Section):
    method: Literal["pruned_int8"]
    sparsity: Annotated[float, Field(gt=0, lt=1)]
    """The share of the smallest weights of every linear layer that become zero before int8."""


class CompressionGate(Section):
    max_drop: Annotated[float, Field(ge=0)]
    """How much worse than the float model the compressed one may be on the validation split: in accuracy (0.01 is one
    point), bits per byte, or the Fréchet distance as a share of the float model's."""
    min_speedup: Annotated[float, Field(gt=0)]
    """The least rows/s (tokens/s, samples/s) over those of torch fp32 in the same run, both
    called as the service calls."""
    max_size_ratio: Annotated[float, Field(gt=0)]
    """The most bytes of the model's files over those of the float weights."""


class Compress(Section):
    """compress: the smallest and fastest model within the limits."""

    candidates: Annotated[
        tuple[Annotated[Fp32 | Int8 | Pruned, Field(discriminator="method")], ...], Field(min_length=1)
    ]
    gate: CompressionGate
    threads: Positive
    """The rows computed at once while measuring; as in package.serving, so that what is measured is what is served."""
    num_latency_rows: Annotated[int, Field(ge=20)]
    """The number of single rows (prompts, samples) timed for p50 and p99."""
