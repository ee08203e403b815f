"""What the settings of every model family have."""

from typing import Any

from components.params.section import Section


class FamilySettings(Section):
    """The settings of a network: its sizes, and what it is made of; what follows from the data is not among them."""

    family: Any
    """Which of the families it is; each class allows its own name alone. A recipe says it once, at its top."""
