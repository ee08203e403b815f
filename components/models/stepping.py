"""A language model as serving drives it: some tokens and a state in, logits and what changes of the state out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Stepping:
    """A module that steps, its inputs by example, and the names of its outputs, in their order."""

    module: nn.Module
    inputs: Mapping[str, Tensor]
    """`input_ids`, of four tokens; `position`, where the model has positions; and the states."""
    outputs: Sequence[str]
