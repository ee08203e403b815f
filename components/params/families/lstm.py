"""Settings of an LSTM language model."""

from typing import Annotated, Literal

from pydantic import Field

from components.params.families.base import FamilySettings
from components.params.section import Positive


class LstmSettings(FamilySettings):
    family: Literal["lstm"]
    embedding_size: Positive
    hidden_size: Positive
    num_layers: Positive
    dropout: Annotated[float, Field(ge=0, lt=1)]
    """The dropout rate of the embeddings, and between layers."""
