"""The model families, and the typed settings of each; components/models has their networks."""

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from components.params.families.base import FamilySettings
from components.params.families.encoder import EncoderSettings
from components.params.families.gan import GanSettings
from components.params.families.gpt import GptSettings
from components.params.families.lstm import LstmSettings
from components.params.families.mlp import MlpSettings

FAMILIES: dict[str, type[FamilySettings]] = {
    "encoder": EncoderSettings,
    "gan": GanSettings,
    "gpt": GptSettings,
    "lstm": LstmSettings,
    "mlp": MlpSettings,
}

if TYPE_CHECKING:
    ModelSettings = FamilySettings
else:
    ModelSettings = Annotated[reduce(or_, FAMILIES.values()), Field(discriminator="family")]

__all__ = ["FAMILIES", "EncoderSettings", "FamilySettings", "ModelSettings"]
