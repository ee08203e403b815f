"""The settings of the split of rows into training, validation and test."""

from typing import Annotated

from pydantic import Field, model_validator

from components.params.section import Section

SplitShare = Annotated[float, Field(gt=0, lt=0.5)]


class Split(Section):
    validation: SplitShare | None
    """The share of the rows in the validation split; where `column` says which rows are for the test, of the rows for
    training. Null where `column` also says which rows are for validation."""
    test: SplitShare | None
    """The share of the rows in the test split; null where `column` says which rows these are."""
    seed: Annotated[int, Field(ge=0)]
    group: str | None
    """The column whose equal values stay in one split (a customer, a document); null for none."""
    column: str | None = None
    """The column that says the split of each row, by the words train, validation and test; None where the splits are
    drawn."""

    @property
    def shares(self) -> tuple[float, float]:
        """The shares of the rows that are drawn for validation and for test; 0 where they are given."""
        return self.validation or 0.0, self.test or 0.0

    @model_validator(mode="after")
    def _drawn_or_given(self) -> "Split":
        if self.column is not None and self.test is not None:
            raise ValueError(f"test is {self.test}, but column '{self.column}' says the test split; set test to null")
        if self.column is None and None in (self.validation, self.test):
            raise ValueError("validation and test are shares of the rows, unless column names a column that says them")
        return self
