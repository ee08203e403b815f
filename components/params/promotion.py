"""The optional section `promotion`: the margins of a challenger beside the champion. Not a
stage: DVC knows nothing of it."""

from typing import Annotated, Literal

from pydantic import Field

from components.params.judging import Bootstrap
from components.params.section import Positive, Section


class SliceGate(Section):
    """The gate on slices of the rows: no part of them may pay for the rest."""

    by: Annotated[tuple[Literal["label", "slice"], ...], Field(min_length=1)]
    """The slices: label for the rows of each label, slice for those of each value of the column
    that preprocess.slice names."""
    max_drop: Annotated[float, Field(ge=0, le=1)]
    """The most by which the challenger's accuracy may be lower on any slice (0.01 is one point)."""
    min_rows: Positive
    """The least rows of a slice that counts; on fewer a difference says little."""


class LatencyGate(Section):
    max_ratio: Annotated[float, Field(gt=0)]
    """The most of the challenger's median time for one row (prompt, sample) over the
    champion's, in turns in one process."""
    num_rows: Annotated[int, Field(ge=20)]
    """The number of single rows (prompts, samples) that are timed."""


class Promotion(Section):
    """The champion gate, which compares both versions, as they are served, on the same held-out rows."""

    then: Literal["promote", "trial"]
    """The fate of a challenger of `modelyard retrain` that passes: it takes the champion's place at once, or stays
    challenger, for the service to try on a share of the traffic and to promote."""
    bootstrap: Bootstrap
    """The bootstrap of the difference; both versions see the same draws."""
    max_drop: Annotated[float, Field(ge=0)]
    """The most that the upper end of the interval of how much worse the challenger is may be: in evaluate's gate metric
    (0.01 is one point of accuracy), in bits per byte, or in Fréchet distance as a share of the champion's."""
    slices: SliceGate | None
    """The gate on slices, of classifiers only; null for none."""
    latency: LatencyGate
    max_size_ratio: Annotated[float, Field(gt=0)]
    """The most bytes of the challenger's ONNX files over the champion's."""
