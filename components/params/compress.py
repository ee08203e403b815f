"""The section of compress, the stage that looks for the smallest and fastest model within the limits."""

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field, model_validator

from components.params.section import Positive, Section
from components.params.students import Distillation, Part, Shape


class Fp32(Section):
    """The candidate that stays the fp32 ONNX model as exported, for a model that loses too much in int8."""

    method: Literal["fp32"]

    @property
    def name(self) -> str:
        return self.method


class Fp16(Section):
    """The candidate in fp16, for a service on a GPU. A CPU gives the same answers, but slower than in fp32."""

    method: Literal["fp16"]

    @property
    def name(self) -> str:
        return self.method


class Int8(Section):
    """The candidate in int8, in which each row of an activation (each token of a text) has a scale of its own, and each
    output channel of a weight, too (ZeroQuant, Yao et al. 2022)."""

    method: Literal["int8"]

    @property
    def name(self) -> str:
        return self.method


class Int8Static(Section):
    """The candidate in int8 with fixed scales for activations, found on rows of the training split. It is faster than
    `int8`, and cuts what exceeds what these rows hold."""

    method: Literal["int8_static"]
    smoothing: Annotated[float, Field(gt=0, lt=1)] | None
    """How much of the outliers in single channels of an activation is moved into the weight (SmoothQuant, Xiao et al.
    2023), from 0 (nothing) to 1; it is done where it lessens the error of a product. None leaves it out."""
    rows: Annotated[int, Field(ge=8)]
    """The most rows (texts, arrays, latents; of documents 32 are enough) by which the scales are found."""

    @property
    def name(self) -> str:
        smoothed = "" if self.smoothing is None else f" {self.smoothing:g}"
        return f"{self.method}{smoothed} of {self.rows}"


class Int4(Section):
    """The candidate whose weights and embeddings have 4 bits, in blocks with a scale and a zero point each (as Frantar
    et al. 2023 group them); rows are rounded to 8 bits. It is the smallest, and the fastest for a language model that
    writes, whose calls have one row."""

    method: Literal["int4"]
    block_size: Literal[16, 32, 64, 128, 256]
    """The number of weights in a block: a smaller block is nearer to the float model, and takes more bytes."""

    @property
    def name(self) -> str:
        return f"{self.method} {self.block_size}"


class Pruned(Section):
    """The candidate that loses its smallest weights (Han et al. 2015) and is then held as `int8`. Its zeros take as
    many bytes and as much time as other weights."""

    method: Literal["pruned_int8"]
    sparsity: Annotated[float, Field(gt=0, lt=1)]
    """The share of the smallest weights of every linear layer that become zero before int8."""

    @property
    def name(self) -> str:
        return f"{self.method} {self.sparsity:g}"


Method = Annotated[Fp32 | Fp16 | Int8 | Int8Static | Int4 | Pruned, Field(discriminator="method")]


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
    min_batched_speedup: Annotated[float, Field(gt=0)] | None = None
    """The least ratio of the compressed model's rows/s to those of torch fp32 in the batches that suit torch best,
    measured in the same run; for classifiers."""
    max_p99_ms: Annotated[float, Field(gt=0)] | None = None
    """The longest time that 99 of 100 single rows (prompts, samples) may take, in ms, with the machine otherwise idle:
    it is a limit of the machine that measures."""


def repeated(names: Iterable[str]) -> str | None:
    """Return the first name that is there twice; None where there is none."""
    seen: set[str] = set()
    return next((name for name in names if name in seen or seen.add(name)), None)


class ShapeSearch(Section):
    """The search for shapes of students, of which each is trained: by Optuna's TPE sampler (Bergstra et al. 2011) over
    the loss of quality and the size."""

    seed: int
    trials: Positive
    """The most students that are trained, beside those of `shapes`."""
    minutes: Annotated[float, Field(gt=0)] | None = None
    """The time after which no further student is begun; a run that needs no more than that finds the same again."""
    layers: Annotated[tuple[Positive, ...], Field(min_length=1)] | None = None
    """The numbers of layers to choose among; None keeps all."""
    feed_forward: Annotated[tuple[Part, ...], Field(min_length=1)] = (1.0,)
    """The shares of the feed-forward units that are kept, to choose among."""
    heads: Annotated[tuple[Part, ...], Field(min_length=1)] = (1.0,)
    """The shares of the attention heads that are kept, to choose among."""
    rank: Annotated[tuple[Part | None, ...], Field(min_length=1)] = (None,)
    """The shares of the full rank of the products, to choose among; None leaves them whole."""

    @model_validator(mode="after")
    def _is_a_choice(self) -> "ShapeSearch":
        if not any(len(values or ()) > 1 for values in (self.layers, self.feed_forward, self.heads, self.rank)):
            raise ValueError(
                "the search has nothing to choose among: give layers, feed_forward, heads or rank several values, or "
                "name the shape in shapes"
            )
        return self


class Students(Section):
    """Smaller networks that learn from the trained one; every candidate is made of each of them, too."""

    distillation: Distillation
    shapes: tuple[Shape, ...] = ()
    """The students that are always trained."""
    search: ShapeSearch | None = None
    """The search for further ones."""

    @model_validator(mode="after")
    def _has_some(self) -> "Students":
        if not self.shapes and self.search is None:
            raise ValueError("students has neither shapes nor a search, so there would be none; leave it out")
        if twice := repeated(shape.name for shape in self.shapes):
            raise ValueError(f"shapes has '{twice}' twice")
        return self


class Compress(Section):
    """The section of the stage compress."""

    candidates: Annotated[tuple[Method, ...], Field(min_length=1)]
    """The ways of holding the numbers of each network."""
    students: Students | None = None
    gate: CompressionGate
    prefer: Literal["size", "speed"] = "size"
    """The one that is served of all candidates within the limits: the smallest, which hangs on no time that was
    measured, or the one with the most rows/s (tokens/s, samples/s) on the machine that compresses."""
    threads: Positive
    """The number of rows computed at once while measuring; package.serving has the same, so that what is measured is
    what is served."""
    num_latency_rows: Annotated[int, Field(ge=20)]
    """The number of single rows (prompts, samples) timed for p50 and p99."""

    @model_validator(mode="after")
    def _differ(self) -> "Compress":
        if twice := repeated(candidate.name for candidate in self.candidates):
            raise ValueError(f"candidates has '{twice}' twice")
        return self
