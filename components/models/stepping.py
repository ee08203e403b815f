"""A language model as serving drives it: tokens and a state go in, logits and the changes of the state come out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Stepping:
    """A module that steps, with an example of each input and the names of the outputs, in their order."""

    module: nn.Module
    inputs: Mapping[str, Tensor]
    """Examples by name: `input_ids` of four tokens, `position` where the model has positions, and the states."""
    outputs: Sequence[str]
