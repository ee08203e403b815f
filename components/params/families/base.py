"""The settings that every model family has."""

from typing import Any

from components.params.section import Section


class FamilySettings(Section):
    """The settings of a network: its sizes and choices of its parts; what follows from the data is not among them."""

    family: Any
    """The name of the family; each class allows its own alone. A recipe says it once, at its top."""
