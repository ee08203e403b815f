"""The section of ingest, the stage that writes the rows of a source to data.parquet."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from components.params.section import Section, Share
from components.params.sources import DataSource, FileSource


def known_encoding(name: str) -> str:
    """Return the name of a text encoding as it was given; ValueError where Python knows none of that name."""
    try:
        "".encode(name)
    except LookupError as error:
        raise ValueError(
            f"'{name}' is no text encoding that Python knows; utf-8, utf-16, windows-1252 and gb18030 are some"
        ) from error
    return name


class CsvFormat(Section):
    """The format of delimited text (tsv is `delimiter: "\\t"`)."""

    type: Literal["csv"]
    delimiter: Annotated[str, Field(min_length=1, max_length=1)]
    quote: Annotated[str, Field(max_length=1)]
    """The quoting character, or an empty string for none."""
    escape: Annotated[str, Field(max_length=1)] | None = None
    """The character that makes a quote within a text a plain one, as a backslash; None where the quote is doubled."""
    skip: Annotated[int, Field(ge=0, le=1000)] = 0
    """The number of lines above the header, or above the rows, that are no part of the table."""
    header: bool
    """True where the first row names the columns."""
    columns: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """The columns' names, where there is no header."""
    encoding: Annotated[str, AfterValidator(known_encoding)]
    """The name of a text encoding as Python knows it, such as utf-8, utf-16, windows-1252 or gb18030."""

    @model_validator(mode="after")
    def _named_once(self) -> "CsvFormat":
        if self.header != (self.columns is None):
            raise ValueError("columns names the columns where header is false, and only there")
        return self


class PlainFormat(Section):
    """A format that describes itself: JSON lines, Parquet, or text with one row a line
    (columns `line` and `line_number`)."""

    type: Literal["jsonl", "parquet", "lines"]


Format = Annotated[CsvFormat | PlainFormat, Field(discriminator="type")]


class Ingest(Section):
    """The section of the stage ingest."""

    source: DataSource
    format: Format | None = None
    """The format of the source's files; not for `sql` and `generator`, which have none."""
    query: str
    """One SELECT over `source`, run by DuckDB, that gives the columns that the task needs: `text` or `values` (an
    array), and `label`."""
    feedback: str | None = None
    """A Parquet file, relative to the project, of rows that users of the service labelled ('modelyard monitor' writes
    it): `query` sees them as the table `feedback`, which has no rows as long as there is no file."""
    licence: str
    """The licence of the data, for its card."""
    max_bad_share: Share
    """The largest share of rows that may be unreadable, rounded up to whole rows; above it the stage stops."""
    watch: str
    """The local path whose change makes the stage run again: the path of a `file` source, or else the stage's own
    code."""

    @model_validator(mode="after")
    def _consistent(self) -> "Ingest":
        if (self.format is None) != (self.source.kind in ("sql", "generator")):
            raise ValueError("format is needed, except for a 'sql' or 'generator' source, which has none")
        if self.feedback is not None and not re.search(r"\bfeedback\b", self.query):
            raise ValueError(f"feedback is '{self.feedback}', but query does not read the table 'feedback'")
        if isinstance(self.source, FileSource) and self.watch != self.source.path:
            raise ValueError(f"watch is '{self.watch}'; for a file source it is source.path ('{self.source.path}')")
        return self
