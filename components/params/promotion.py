"""The section `promotion`: what a challenger must hold to beside the champion. Not a stage: DVC knows nothing of it."""

from typing import Annotated, Literal

from pydantic import Field

from components.params.judging import Bootstrap
from components.params.section import Positive, Section


class SliceGate(Section):
    """No part of the rows may pay for the rest."""

    by: Annotated[tuple[Literal["label", "slice"], ...], Field(min_length=1)]
    """label: the rows of each label; slice: those of each value of the column that preprocess.slice names."""
    max_drop: Annotated[float, Field(ge=0, le=1)]
    """How much lower the challenger's accuracy may be on any of them."""
    min_rows: Positive
    """Of a slice that counts; on fewer rows a difference says little."""


class LatencyGate(Section):
    max_ratio: Annotated[float, Field(gt=0)]
    """The challenger's median time for one row (prompt, sample) over the champion's, in turns in one process."""
    num_rows: Annotated[int, Field(ge=20)]
    """Single rows (prompts, samples) that are timed."""


class Promotion(Section):
    """The champion gate: both versions as they are served, on the same held-out rows."""

    then: Literal["promote", "trial"]
    """What becomes of a challenger of `modelyard retrain` that passes: it takes the champion's place at once, or stays
    challenger, for the service to try on a share of the traffic and to promote."""
    bootstrap: Bootstrap
    """Of the difference; both versions see the same draws."""
    max_drop: Annotated[float, Field(ge=0)]
    """The upper end of the interval of how much worse the challenger is must not lie above this: in evaluate's gate
    metric (0.01 is one point of accuracy), in bits per byte, or in Fréchet distance as a share of the champion's."""
    slices: SliceGate | None
    """Of classifiers only; null for none."""
    latency: LatencyGate
    max_size_ratio: Annotated[float, Field(gt=0)]
    """Bytes of the challenger's ONNX files over the champion's."""
