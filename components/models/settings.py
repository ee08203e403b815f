"""Which model families there are, and the typed settings of each.

A family is a folder here: `settings.py` (its class `Settings`, light to import) and `network.py` (its nn.Module). What
lies here is found, so that a new family is a new folder and an entry of params.yaml.
"""

import importlib
import pkgutil
from functools import reduce
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from components.params.section import Section


def families() -> list[str]:
    """The names of the families, sorted."""
    folder = str(Path(__file__).parent)
    return sorted(found.name for found in pkgutil.iter_modules([folder]) if found.ispkg)


def settings_of(family: str) -> type[Section]:
    """The class of a family's settings."""
    found: type[Section] = importlib.import_module(f"components.models.{family}.settings").Settings
    return found


if TYPE_CHECKING:

    class FamilySettings(Section):
        """What every family's settings have."""

        family: str

    ModelSettings = FamilySettings
else:
    ModelSettings = Annotated[reduce(or_, map(settings_of, families())), Field(discriminator="family")]
