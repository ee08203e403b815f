"""Settings of a multi-layer perceptron."""

from typing import Annotated, Literal

from pydantic import Field

from components.params.families.base import FamilySettings
from components.params.section import Positive


class MlpSettings(FamilySettings):
    family: Literal["mlp"]
    hidden_sizes: Annotated[tuple[Positive, ...], Field(min_length=1)]
    """The widths of the hidden layers; the first and the last width follow from the data."""
    activation: Literal["relu", "leaky_relu", "tanh", "sigmoid", "gelu"]
    batch_norm: bool
    """True to follow each hidden layer's product by batch normalisation."""
    dropout: Annotated[float, Field(ge=0, lt=1)]
    """The dropout rate of the hidden layers."""
