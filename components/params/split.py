"""The settings of the split of rows into training, validation and test."""

from typing import Annotated

from pydantic import Field

from components.params.section import Section


class Split(Section):
    validation: Annotated[float, Field(gt=0, lt=0.5)]
    """The share of the rows in the validation split."""
    test: Annotated[float, Field(gt=0, lt=0.5)]
    """The share of the rows in the test split."""
    seed: Annotated[int, Field(ge=0)]
    group: str | None
    """The column whose equal values stay in one split (a customer, a document); null for none."""
