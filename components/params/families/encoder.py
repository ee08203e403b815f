"""Settings of a BERT-like encoder that is pretrained from scratch."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from components.params.families.base import FamilySettings
from components.params.section import Positive


class EncoderSettings(FamilySettings):
    family: Literal["encoder"]
    hidden_size: Positive
    num_layers: Positive
    num_heads: Positive
    intermediate_size: Positive
    """The width of the feed-forward layers."""
    dropout: Annotated[float, Field(ge=0, lt=1)]
    """The dropout rate of embeddings and residuals; the attention has no dropout."""

    @model_validator(mode="after")
    def _heads_divide(self) -> "EncoderSettings":
        if self.hidden_size % self.num_heads:
            raise ValueError(f"hidden_size {self.hidden_size} is no multiple of num_heads {self.num_heads}")
        return self
