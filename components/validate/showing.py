"""The verdict for a person: a table on the terminal, and one line a failed expectation."""

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from components.validate.expectations import percent
from components.validate.judging import Judged

UNIQUE = "expect_column_proportion_of_unique_values_to_be_between"

ONE = {"rows": "row", "texts": "text", "arrays": "array", "classes": "class"}

# Columns of the printed table where standard error is no terminal.
WIDTH = 120


def show(judged: Sequence[Judged]) -> None:
    """Print which expectation holds, how much breaks it, and examples, on standard error."""
    console = Console(stderr=True, width=None if sys.stderr.isatty() else WIDTH)
    num_failed = sum(not one.success for one in judged)
    said = (
        f"{num_failed} of {len(judged)} expectations failed" if num_failed else f"all {len(judged)} expectations hold"
    )
    table = Table(title=f"data contract: {said}", title_justify="left", box=None, pad_edge=False)
    for name in ("", "expectation", "found", "examples and advice"):
        table.add_column(name, overflow="fold")
    for one in judged:
        mark = Text("ok", style="green") if one.success else Text("FAILED", style="bold red")
        details = Text("\n".join([*one.examples, *([one.advice] if one.advice else [])]))
        table.add_row(mark, Text(one.expected), Text(extent(one) or observed(one)), details)
    console.print(table)


def observed(one: Judged) -> str:
    if one.name == UNIQUE and isinstance(one.observed, float):  # the contract speaks of the others
        return f"{percent(1 - one.observed)} of the rows"
    return "" if one.observed is None else str(one.observed)


def extent(one: Judged) -> str:
    if one.num_unexpected is None:
        return ""
    share = "" if one.share is None else f" ({percent(one.share)})"
    noun = ONE[one.table] if one.num_unexpected == 1 else one.table
    return f"{one.num_unexpected} {noun}{share}"


def line_of(one: Judged) -> str:
    """`expected …: 12 rows (0.12%), for example …; how to mend it`."""
    extents = extent(one)
    seen = ", for example ".join(part for part in (extents, ", ".join(one.examples)) if part)
    return f"expected {one.expected}, found {seen} ({one.advice})"
