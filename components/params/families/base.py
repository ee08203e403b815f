"""The settings that every model family has."""

from typing import Any

from components.params.section import Section


class FamilySettings(Section):
    """The settings of a network: its sizes and the choices of its parts. Sizes that follow from the data are not
    settings."""

    family: Any
    """The name of the family; each subclass allows only its own. A recipe gives it once, at its top."""
