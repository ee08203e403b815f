"""How rows are split."""

from typing import Annotated

from pydantic import Field

from components.params.section import Section


class Split(Section):
    validation: Annotated[float, Field(gt=0, lt=0.5)]
    """Share of the rows."""
    test: Annotated[float, Field(gt=0, lt=0.5)]
    """Share of the rows."""
    seed: Annotated[int, Field(ge=0)]
    group: str | None
    """A column whose equal values stay in one split (a customer, a document), or null."""
