"""The optional section `promotion`: the margins within which a challenger may replace the champion.

It is no stage, so DVC does not know it.
"""

from typing import Annotated, Literal

from pydantic import Field

from components.params.judging import Bootstrap
from components.params.section import Positive, Section


class SliceGate(Section):
    """The gate on slices of the rows, which keeps a gain on the whole from hiding a loss on a part."""

    by: Annotated[tuple[Literal["label", "slice"], ...], Field(min_length=1)]
    """The kinds of slices: label for the rows of each label, slice for the rows of each value of the column that
    preprocess.slice names."""
    max_drop: Annotated[float, Field(ge=0, le=1)]
    """The most by which the challenger's accuracy may be lower on any slice (0.01 is one point)."""
    min_rows: Positive
    """The least number of rows of a slice that counts; a difference on fewer rows says little."""


class LatencyGate(Section):
    max_ratio: Annotated[float, Field(gt=0)]
    """The largest ratio of the challenger's median time for one row (prompt, sample) to the champion's, taken in turns
    in one process."""
    num_rows: Annotated[int, Field(ge=20)]
    """The number of single rows (prompts, samples) to time."""


class Promotion(Section):
    """The champion gate, which compares the versions, as they are served, on the same held-out rows. Every limit holds
    beside the champion, and beside the best champion so far."""

    then: Literal["promote", "trial"]
    """The action for a challenger of `modelyard retrain` that passes: it takes the champion's place at once, or stays
    challenger, for the service to try on a share of the traffic and to promote."""
    bootstrap: Bootstrap
    """The settings of the bootstrap of the difference; both versions see the same draws."""
    max_drop: Annotated[float, Field(ge=0)]
    """The largest upper end of the interval of how much worse the challenger is: in evaluate's gate metric (0.01 is one
    point of accuracy), in bits per byte, or in Fréchet distance as a share of the champion's. It is for what the rows
    cannot tell apart."""
    indifference: Annotated[float, Field(ge=0)] | None = None
    """The drop that nobody would notice, in the same units: a challenger whose whole interval lies above it is surely
    worse, and refused whatever `max_drop` says. Null is 0.002 of accuracy, macro F1 or MCC, 0.005 bits per byte, or
    0.02 of the Fréchet distance."""
    slices: SliceGate | None
    """The gate on slices, for classifiers only; null for none."""
    latency: LatencyGate
    max_size_ratio: Annotated[float, Field(gt=0)]
    """The largest ratio of the bytes of the challenger's ONNX files to those of the champion's."""
