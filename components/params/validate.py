"""The section of validate, the stage that is the data gate."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from components.params.section import Positive, Section, Share


class Between(Section):
    min: int | None
    """The smallest allowed value; null for no limit."""
    max: int | None
    """The largest allowed value; null for no limit."""

    @model_validator(mode="after")
    def _in_order(self) -> "Between":
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min ({self.min}) is above max ({self.max})")
        return self


class Values(Section):
    """The limits of the column `values`."""

    length: Positive
    """The number of entries in each row's array."""
    min: float
    """The smallest allowed number."""
    max: float
    """The largest allowed number."""


class Contract(Section):
    """The contract that a data set must fulfil: rows of `text` or of `values`, with or without a `label`."""

    columns: dict[str, Literal["string", "integer", "number", "boolean", "array"]]
    """Every column that must be there, and its type; `text: string` or `values: array` among them."""
    num_rows: Between
    max_null_share: Share
    """The largest share of null texts, values or labels."""
    max_duplicate_share: Share
    """The largest share of rows whose text or values came before."""
    text_length: Between | None = None
    """The allowed number of characters in one text; required where there is a column `text`, and only there."""
    values: Values | None = None
    """The limits of the arrays; required where there is a column `values`, and only there."""
    labels: Annotated[tuple[str, ...], Field(min_length=2)] | None = None
    """The allowed labels, in the order in which the model numbers them; required, like max_conflict_share and
    min_class_share, where there is a column `label`."""
    max_conflict_share: Share | None = None
    """The largest share of texts or values that carry two labels."""
    min_class_share: Share | None = None
    """The least share of the rarest label among the rows that have a label."""
    max_unlabelled_share: Share | None = None
    """The largest share of rows without a label, which are texts to pretrain on; where it is null, a missing label is a
    fault."""

    @model_validator(mode="after")
    def _usable(self) -> "Contract":
        if (self.columns.get("text") == "string") == (self.columns.get("values") == "array"):
            raise ValueError("columns must say 'text: string' or 'values: array'; the query can cast either")
        if self.columns.get("label", "string") != "string":
            raise ValueError("columns must say 'label: string'; the query can cast it (CAST(x AS VARCHAR))")
        for column, keys in KEYS_OF.items():
            for key in keys:
                if (getattr(self, key) is not None) != (column in self.columns):
                    raise ValueError(f"{key} is needed where columns has '{column}', and only there")
        if self.max_unlabelled_share is not None and self.labels is None:
            raise ValueError("max_unlabelled_share is for rows with labels")
        if self.labels is not None and len(set(self.labels)) < len(self.labels):
            raise ValueError("labels names one label twice")
        return self


KEYS_OF = {
    "text": ("text_length",),
    "values": ("values",),
    "label": ("labels", "max_conflict_share", "min_class_share"),
}


class Validate(Section):
    """The section of the stage validate."""

    contract: Contract
