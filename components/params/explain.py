"""The settings of the explanations that evaluate makes and proves."""

from typing import Annotated

from pydantic import Field

from components.params.section import Positive, Section


class Explain(Section):
    rows: Positive
    """The number of rows of the test split to explain, a seeded sample; a split of fewer is explained whole."""
    seed: Annotated[int, Field(ge=0)]


class ExplainTexts(Explain):
    min_occurrences: Positive
    """How often a word must occur in the sample to be listed among those that move a class the most."""
