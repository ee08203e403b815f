"""Settings of a decoder-only Transformer."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from components.params.families.base import FamilySettings
from components.params.section import Positive


class GptSettings(FamilySettings):
    family: Literal["gpt"]
    hidden_size: Positive
    num_layers: Positive
    num_heads: Positive
    dropout: Annotated[float, Field(ge=0, lt=1)]
    """The dropout rate of embeddings, attention and residuals."""

    @model_validator(mode="after")
    def _heads_divide(self) -> "GptSettings":
        if self.hidden_size % self.num_heads:
            raise ValueError(f"hidden_size {self.hidden_size} is no multiple of num_heads {self.num_heads}")
        return self
